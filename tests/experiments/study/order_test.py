"""A study that ends too early, at every stage, and goes on."""

import pathlib
import re

from absl.testing import absltest
import pytest

from disentangle3d.fitting.batched_fitting import _fit_batch
from experiments.configs import paper_scale
from experiments.study.evaluation import Measuring
from experiments.study.order import run_study
from experiments.study.plan import Budget
from experiments.study.runs import Stopped
from experiments.study.stages import open_study
from experiments.study.variants import CONTROL, PAPER

_MEASURING = Measuring(bound_people=0, protocol_photos=0, timed_images=0)


class EndedTest(absltest.TestCase):
  def _until(self, is_over):
    """The same command, whose time is up as soon as something is so."""
    config = paper_scale.get_config()
    config.model.trunk, config.batch_size = "tiny", 16
    config.epochs.latents = 1
    config.epochs.joint_recognition = 1
    config.epochs.joint_reconstruction = 1
    config.phases.decoders.steps = 4
    config.log_every = 1
    config.checkpoint_every = 1

    def clock():
      return 3600 if is_over() else 0

    budget = Budget(60, clock=clock)
    study = open_study(
      self.workdir,
      config,
      scale=0.0002,
      morphable_model=None,
      num_vertices=600,
      test_people=4,
      world_seed=0,
      budget=budget,
    )
    try:
      run_study(
        study,
        "all",
        [CONTROL, PAPER],
        seed=0,
        measuring=_MEASURING,
        budget=budget,
      )
    except Stopped:
      return False, self._page()
    return True, self._page()

  def _page(self):
    return (self.workdir / "paper_scale-test.md").read_text()

  def _exists(self, path):
    return (self.workdir / path).is_file

  @pytest.mark.slow
  @pytest.mark.timeout(2000)
  def test_there_is_a_page_at_every_end_and_the_same_command_goes_on(self):
    self.workdir = pathlib.Path(self.create_tempdir().full_path) / "study"
    programs = _fit_batch._cache_size()
    done, page = self._until(self._exists("fits-199.npz"))
    self.assertFalse(done)
    self.assertIn("| fitting, fits-199 |", page)
    self.assertIn("Nothing was measured yet", page)
    self.assertNotIn("## Training", page)
    fits = (self.workdir / "fits-199.npz").stat().st_mtime_ns

    # In the middle of phase I: how far it came, and whether codes saturate.
    done, page = self._until(self._exists("paper-0/metrics.jsonl"))
    self.assertFalse(done)
    shares = r"[\d.]+ \| [\d.]+ \| [\d.]+ \|"
    self.assertRegex(page, r"\| paper-0 \| latents \| \d of 6 \| " + shares)
    self.assertIn("identity saturated, %", page)
    self.assertIn("(stopped)", page)
    self.assertIn("Nothing was measured yet", page)

    # In phase III: what phases I and II came to is measured all the same.
    pretrained = "paper-0/export/decoders/face_model.json"
    done, page = self._until(self._exists(pretrained))
    self.assertFalse(done)
    self.assertIn("Measured on 4 people of test", page)
    self.assertIn("| after I + II |", page)
    self.assertNotIn("| after III |", page)

    done, page = self._until(lambda: "| after III |" in self._page())
    self.assertFalse(done)
    self.assertIn("| after III |", page)
    self.assertNotIn("control: III without L_C |", page)

    done, page = self._until(lambda: False)
    self.assertTrue(done)
    for row in ("after I + II", "after III", "control: III without L_C"):
      self.assertIn(f"| {row} |", page)
    for phase in ("latents", "joint_reconstruction"):
      self.assertIn(f"| paper-0 | {phase} |", page)
    # Nothing was done twice.
    self.assertEqual((self.workdir / "fits-199.npz").stat().st_mtime_ns, fits)
    stages = re.findall(r"^\| (.*?) \| [\d.]+ \|", page, re.MULTILINE)
    self.assertEqual(
      [name for name in stages if "evaluation" in name],
      3 * ["evaluation, 4 of test, seed 0"],
    )
    self.assertEqual(stages.count("training, paper, seed 0"), 1)
    self.assertEqual(stages.count("fitting, fits-199"), 1)
    # The training people's, and two for all held-out people of all sets.
    self.assertEqual(_fit_batch._cache_size() - programs, 3)


if __name__ == "__main__":
  absltest.main()
