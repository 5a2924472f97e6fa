"""Every stage on a cluster that loses a node: the bytes of one machine."""

import functools
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from data_prep.datasets.building import build_dataset
from data_prep.datasets.synthetic_crops import render_aligned
from data_prep.datasets.synthetic_rendering import render_dataset
from data_prep.datasets.synthetic_set import SyntheticSet, world_of
from data_prep.faces.alignment import align_faces
from data_prep.faces.detection import detect_faces, mtcnn_source
from data_prep.faces.dlib_locator import DlibLocator
from data_prep.faces.location import locate_landmarks, rows_of_stage
from data_prep.faces.mtcnn.detector import Settings
from data_prep.fitting.shards import FitSettings
from data_prep.fitting.stage import fit_faces
from data_prep.photos.photo_sets import list_photos
from data_prep.stages.engine import LOCAL
from data_prep.stages.ray_engine import RayEngine
from disentangle3d.faces.morphable_model import (
  load_morphable_model,
  save_morphable_model,
)
from disentangle3d.faces.procedural import procedural_face_model
from tests.data_prep import orl_faces, ray_nodes
from tests.fixtures import REPOSITORY

_PEOPLE, _PHOTOS = ("s2", "s5", "s10"), ("1.pgm", "2.pgm")
_SET = SyntheticSet(
  people=2,
  photos_per_person=512,
  heldout_people=1,
  heldout_photos_per_person=2,
  num_vertices=500,
  identity_modes=4,
  expression_modes=2,
)


def _detect(before, output, engine):
  source = mtcnn_source(Settings(factor=0.709))
  detect_faces(
    list_photos(before.parent / "photos"),
    output,
    source,
    photos_per_shard=2,
    engine=engine,
  )


def _locate(before, output, engine):
  locate_landmarks(
    rows_of_stage(before / "detected"), output, DlibLocator(), engine=engine
  )


def _align(before, output, engine):
  align_faces(before / "located", output, engine=engine)


def _fit(before, output, engine):
  model = load_morphable_model(before.parent / "model.npz")
  settings = FitSettings(images_per_shard=2)
  fit_faces(before / "aligned", model, output, settings=settings, engine=engine)


def _build(before, output, engine):
  build_dataset(before / "fitted", output, heldout="1", engine=engine)


def _render(before, output, engine):
  world, fitter = world_of(_SET)
  render_dataset(output, _SET, world, fitter, engine=engine)


def _render_aligned(before, output, engine):
  world, _ = world_of(_SET)
  render_aligned(output, _SET, world, engine=engine)


_STAGES = {
  "detected": _detect,
  "located": _locate,
  "aligned": _align,
  "fitted": _fit,
  "dataset": _build,
  "synthetic": _render,
  "synthetic_aligned": _render_aligned,
}


def _files(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


@pytest.mark.slow
@pytest.mark.timeout(1800)
class RayStagesTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    if not orl_faces.FOLDER.is_dir():
      raise absltest.SkipTest(f"{orl_faces.FOLDER} is not there")
    scratch = tempfile.TemporaryDirectory()
    cls.addClassCleanup(scratch.cleanup)
    cls.folder = pathlib.Path(scratch.name)
    for person, name in np.ndindex(len(_PEOPLE), len(_PHOTOS)):
      place = pathlib.Path(_PEOPLE[person], _PHOTOS[name])
      (cls.folder / "photos" / place).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(orl_faces.FOLDER / place, cls.folder / "photos" / place)
    model = procedural_face_model(
      num_vertices=1_000, identity_dim=10, expression_dim=3
    )
    save_morphable_model(cls.folder / "model.npz", model)
    nodes = ray_nodes.two_nodes()
    cls.cluster = cls.enterClassContext(nodes)

  @functools.cached_property
  def local(self) -> pathlib.Path:
    return self.folder / "local"

  @parameterized.parameters(*_STAGES)
  def test_a_node_lost_in_the_middle_changes_no_byte(self, name):
    # A folder as deep as `local`, with the stages before: rows have paths.
    beside = self.folder / f"lost_{name}"
    beside.mkdir()
    for stage, make in _STAGES.items():
      if not (self.local / stage).exists():
        make(self.local, self.local / stage, LOCAL)
      if stage == name:
        break
      (beside / stage).symlink_to(self.local / stage)
    killer = threading.Thread(
      target=ray_nodes.kill_node_after,
      args=(self.cluster, beside / name, "manifest-*"),
      daemon=True,
    )
    killer.start()
    engine = RayEngine(self.cluster.address)
    _STAGES[name](beside, beside / name, engine)
    killer.join(30)
    self.assertFalse(killer.is_alive())
    ray_nodes.add_node(self.cluster, num_cpus=1)
    self.assertEqual(_files(beside / name), _files(self.local / name))


@pytest.mark.slow
@pytest.mark.timeout(900)
class KilledDriverTest(absltest.TestCase):
  def test_the_driver_started_again_goes_on(self):
    photos = orl_faces.skip_unless_there(self)
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    folder = pathlib.Path(scratch.name)
    shutil.copytree(photos, folder / "photos")
    names = [p.relative_to(photos).as_posix() for p in photos.glob("s*/*.pgm")]
    points = "30 45 62 45 46 60 34 78 58 78"
    lines = [f"{name} {points}" for name in names]
    (folder / "list.txt").write_text("\n".join(lines))

    def command(module, *flags):
      return [sys.executable, "-m", f"data_prep.{module}", *flags]

    def detect(output, *flags):
      return command(
        "detect_faces",
        f"--photos={folder / 'photos'}",
        f"--five_points={folder / 'list.txt'}",
        f"--output={folder / output}",
        "--photos_per_shard=1",
        *flags,
      )

    run = functools.partial(subprocess.run, cwd=REPOSITORY, check=True)
    run(detect("local"))
    with subprocess.Popen(
      detect("ray", "--engine=ray"), cwd=REPOSITORY
    ) as driver:
      while not list((folder / "ray").glob("manifest-*")):
        time.sleep(0.01)
      driver.send_signal(signal.SIGKILL)
    self.assertLess(len(list((folder / "ray").glob("manifest-*"))), len(names))
    run(detect("ray", "--engine=ray"))
    self.assertEqual(_files(folder / "ray"), _files(folder / "local"))


if __name__ == "__main__":
  absltest.main()
