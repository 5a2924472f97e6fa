"""The earlier name of `python -m data_prep.import_trunk`, which it runs."""

import runpy
import sys

if __name__ == "__main__":
  sys.stderr.write(
    "WARNING: data_prep.import_sphereface is called data_prep.import_trunk"
    " now\n"
  )
  runpy.run_module(
    "data_prep.import_trunk", run_name="__main__", alter_sys=True
  )
