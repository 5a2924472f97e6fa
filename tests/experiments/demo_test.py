"""The demo end to end at a tiny size; `make demo` is the real one."""

import os
import pathlib
import subprocess
import sys

from absl.testing import absltest
import pytest

from tests.fixtures import REPOSITORY

_SMALL = """
import pathlib, sys
from data_prep.datasets.synthetic_set import SyntheticSet
from experiments.configs import demo as config
from experiments.study import demo
config.LATENT_STEPS, config.DECODER_STEPS, config.JOINT_STEPS = 60, 60, 4
settings = SyntheticSet(
    people=8, photos_per_person=4, heldout_people=20,
    heldout_photos_per_person=8, num_vertices=600, identity_modes=8,
    expression_modes=4)
gates = demo.run_demo(pathlib.Path(sys.argv[1]), settings)
print(len(gates), "gates")
"""


@pytest.mark.slow
class DemoTest(absltest.TestCase):
  def test_it_writes_a_page_a_picture_and_two_meshes(self):
    workdir = pathlib.Path(self.create_tempdir().full_path)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
      [sys.executable, "-c", _SMALL, str(workdir)],
      cwd=REPOSITORY,
      env=environment,
      capture_output=True,
      text=True,
      timeout=280,
    )
    self.assertEqual(run.returncode, 0, run.stderr[-2000:])
    self.assertIn("4 gates", run.stdout)
    page = (workdir / "report.html").read_text()
    for title in (
      "Gates",
      "3D error: synthetic_outdoor",
      "Verification: synthetic, per_person",
      "Verification: synthetic, per_photo",
      "Losses",
    ):
      self.assertIn(f">{title}</h2>", page)
    # No link leads out; pictures in base64 have no colon.
    self.assertFalse("://" in page)
    for name in ("faces.png", "face.glb", "face.ply"):
      self.assertGreater((workdir / name).stat().st_size, 1000, name)


if __name__ == "__main__":
  absltest.main()
