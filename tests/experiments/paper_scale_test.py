import functools
import pathlib
import subprocess
import sys
from unittest import mock

from absl.testing import absltest
import pytest

from experiments.configs import paper_scale
from experiments.study.evaluation import Measuring
from experiments.study.order import run_study
from experiments.study.stages import check_order, open_study
from tests.fixtures import REPOSITORY

_VERTICES = 1_500


def _open(workdir, **changes):
  values = {
    "config": paper_scale.get_config(),
    "scale": 0.0004,
    "morphable_model": None,
    "num_vertices": _VERTICES,
    "test_people": 6,
    "world_seed": 0,
  }
  return open_study(workdir, **values | changes)


class OpenStudyTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(self.create_tempdir().full_path) / "study"

  def test_a_study_is_begun_once(self):
    study = _open(self.workdir)
    self.assertLen(study.people.counts, 4)
    self.assertEqual(study.people.num_photos, 196)
    self.assertEqual(study.fitter.num_vertices, _VERTICES)
    # The world has more modes than its fitter, so that truth leaves its span.
    self.assertEqual(
      (study.fitter.identity_dim, study.fitter.expression_dim), (199, 29)
    )
    self.assertGreater(study.world.model.identity_dim, 199)
    with self.assertRaisesRegex(
      FileNotFoundError, "paper-0/export/decoders: no such export, which arcf"
    ):
      check_order(study, ["arcface", "true_shape"], 0)
    check_order(study, ["arcface", "paper"], 0)
    check_order(study, ["true_shape"], 0)
    # Nothing is there yet that depends on it.
    _open(self.workdir, world_seed=1)
    _open(self.workdir)
    (self.workdir / "fits-199.npz").touch()
    _open(self.workdir)
    with self.assertRaisesRegex(
      ValueError, "study.json: expected seed 0 as this study .* got 1"
    ):
      _open(self.workdir, world_seed=1)
    with self.assertRaisesRegex(ValueError, "expected scale 0.0004 .* got 0.5"):
      _open(self.workdir, scale=0.5)

  def test_too_few_people_are_told_before_the_training(self):
    study = _open(self.workdir, test_people=3)
    run = functools.partial(run_study, study, "all", ["paper"], seed=0)
    with self.assertRaisesRegex(ValueError, "--test_people: expected 4 or"):
      run(measuring=Measuring())
    with self.assertRaisesRegex(ValueError, "--validation_people: .* got 2"):
      run(measuring=Measuring("validation", validation_people=2))
    with self.assertRaisesRegex(ValueError, "--protocol_photos: .* the 40 pho"):
      run(
        measuring=Measuring(
          "validation", validation_people=4, protocol_photos=41
        )
      )
    self.assertEqual(
      [path.name for path in self.workdir.iterdir()], ["study.json"]
    )

  def test_the_dtype_is_the_configs_where_it_has_one(self):
    self.assertEqual(_open(self.workdir).config.model.dtype, "float32")
    config = paper_scale.get_config()
    for backend in ("cpu", "gpu"):
      with mock.patch("jax.default_backend", return_value=backend):
        for dtype in ("float32", "bfloat16"):
          config.model.dtype = dtype
          study = _open(self.workdir, config=config)
          self.assertEqual(study.config.model.dtype, dtype)

  def test_scales_beyond_the_papers_are_refused(self):
    for scale in (0, -1, 1.5, float("nan")):
      with self.assertRaisesRegex(ValueError, "--scale: expected above 0"):
        _open(self.workdir, scale=scale)
    self.assertFalse(self.workdir.exists())


class PaperScaleTest(absltest.TestCase):
  def _run(self, *flags):
    done = subprocess.run(
      [
        sys.executable,
        "-m",
        "experiments.paper_scale",
        f"--workdir={self.workdir}",
        "--scale=0.0004",
        f"--num_vertices={_VERTICES}",
        "--config.model.trunk=tiny",
        "--config.batch_size=32",
        "--test_people=6",
        "--bound_people=1",
        "--protocol_photos=2",
        "--timed_images=32",
        "--ablation=paper",
        "--ablation=no_identification",
        *flags,
      ],
      cwd=REPOSITORY,
      capture_output=True,
      text=True,
      timeout=1800,
      check=False,
    )
    self.assertEqual(done.returncode, 0, done.stderr[-3000:])
    return done.stdout

  @pytest.mark.slow
  @pytest.mark.timeout(2000)
  def test_stopped_and_gone_on_with_it_ends_in_a_page(self):
    self.workdir = pathlib.Path(self.create_tempdir().full_path) / "study"
    said = self._run("--minutes=0.02")
    self.assertIn("scale 0.0004; expected: rendering", said)
    self.assertIn("stopped, saved; run the same command", said)
    path = self.workdir / "paper_scale-test.md"
    self.assertIn("Nothing was measured yet", path.read_text())
    self._run("--stage=fit")
    self.assertNotIn("fitting", self._run())
    page = path.read_text()
    for row in (
      "after I + II",
      "after III, λ_R 0.5",
      "control: III without L_C",
      "best 3DMM projection",
      "landmark fit, this photo only",
      "evaluation, 6 of test, seed 0",
      "| paper-0 | joint_reconstruction |",
      "Table 4",
    ):
      self.assertIn(row, page)
    evaluation = self.workdir / "test-0" / "evaluation"
    self.assertLen(list((evaluation / "pictures").glob("*.png")), 3)
    # Nothing is trained again, and other people are measured.
    said = self._run("--evaluate_on=validation", "--validation_people=6")
    self.assertNotIn("rendering", said)
    self.assertTrue((self.workdir / "paper_scale-validation.md").is_file())


if __name__ == "__main__":
  absltest.main()
