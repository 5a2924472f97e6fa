"""Startup of one process with 100 files of 420,000 records each."""

import json
import os
import pathlib
import re
import sys
import time

from absl.testing import absltest
from array_record.python.array_record_module import ArrayRecordWriter
import numpy as np
import pytest

from disentangle3d.training.dataset import (
  FORMAT,
  MANIFEST,
  MORPHABLE_MODEL,
  open_dataset,
)
from disentangle3d.training.example_order import example_indices
from disentangle3d.training.input_pipeline import RecordReader
from tests.fixtures import run_program

_FILES, _A_FILE = 100, 420_000
_START = """
import json
from tests.training.input_scale_test import start
print(json.dumps(start(*json.loads(ARGUMENTS))))
"""


def write_index(folder: pathlib.Path) -> None:
  """The files of a set of 42 million photos, with all but the photos."""
  first = folder / "train-00000-of-00100.array_record"
  writer = ArrayRecordWriter(str(first), "group_size:1,uncompressed")
  for number in range(_A_FILE):
    writer.write(number.to_bytes(4, "little"))
  writer.close()
  names = [f"train-{n:05d}-of-00100.array_record" for n in range(_FILES)]
  for name in names[1:]:
    os.link(first, folder / name)
  (folder / MORPHABLE_MODEL).touch()
  files = [{"name": n, "num_records": _A_FILE, "sha256": ""} for n in names]
  split = {
    "num_records": _FILES * _A_FILE,
    "num_people": 2_000_000,
    "files": files,
  }
  manifest = {
    "format": FORMAT,
    "splits": {"train": split},
    "identity_dim": 199,
    "expression_dim": 29,
    "num_classes": 2_000_000,
    "morphable_model": {"sha256": ""},
  }
  (folder / MANIFEST).write_text(json.dumps(manifest))


def start(folder: str, process: int, processes: int, lanes: int) -> list[float]:
  """Opens a set and reads a first batch; core seconds, bytes, files."""
  began = time.process_time()
  split = open_dataset(folder, "train", verify=False, part=(process, processes))
  reader = RecordReader(split)
  share = 1024 // processes
  indices = example_indices(
    0,
    0,
    np.arange(process * share, (process + 1) * share),
    batch_size=1024,
    num_examples=len(reader),
    lanes=lanes,
  )
  records = reader._whole.__getitems__(indices[:256].tolist())
  expected = indices[:256] % _A_FILE
  got = [int.from_bytes(record, "little") for record in records]
  np.testing.assert_array_equal(got, expected)
  opened = sum(one is not None for one in reader._whole._readers)
  return [time.process_time() - began, _peak_bytes(), opened]


def _peak_bytes() -> int:
  """Since this program was loaded; ru_maxrss keeps what its parent had."""
  status = pathlib.Path("/proc/self/status").read_text()
  return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
class InputScaleTest(absltest.TestCase):
  def test_42_million_records_are_open_within_a_minute_and_2_gb(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    write_index(folder)
    for process, processes, lanes in ((0, 1, 1), (3, 8, 8)):
      arguments = json.dumps([str(folder), process, processes, lanes])
      told = run_program(_START.replace("ARGUMENTS", repr(arguments)))
      self.assertEqual(told.returncode, 0, told.stderr)
      seconds, peak, opened = json.loads(told.stdout)
      self.assertLess(seconds, 60)
      self.assertLess(peak, 2e9)
      # An eighth of 100 files, and both that it shares with its neighbours.
      self.assertLessEqual(opened, 100 if processes == 1 else 14)


if __name__ == "__main__":
  absltest.main()
