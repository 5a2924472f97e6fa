import pathlib

from absl.testing import absltest
import jax

from disentangle3d.training.run_files import MetricLog, write_run_info
from experiments.configs import smoke
from experiments.training.runs import train
from experiments.training.summary import saturation_warning, write_summary
from tests.training.cases import MORPHABLE_MODEL


class RunSummaryTest(absltest.TestCase):
  def test_the_page_says_what_ran_and_how_it_went(self):
    workdir = pathlib.Path(self.create_tempdir().full_path)
    write_summary(workdir)
    self.assertFalse((workdir / "SUMMARY.md").exists())
    write_run_info(
      workdir,
      {"seed": 3},
      MORPHABLE_MODEL,
      jax.devices()[:2],
      params={"encoder": 1_552_545},
      fixed=(),
    )
    with MetricLog(workdir) as log:
      for step in (10, 20):
        log.write("latents", step, {"loss": 1 / step, "flops_per_step": 2e9})
    write_summary(workdir)
    page = (workdir / "SUMMARY.md").read_text()
    for text in (
      "| latents | 20 | 0.05 | – | – | – | – | 2e+09 |",
      "| encoder | 1,552,545 |",
      "Licence of the 3DMM, and so of the params: Apache-2.0.",
      f"| jax | {jax.__version__} |",
      '"seed": 3',
      str(jax.devices()[1]),
      "![Loss of latents](loss_latents.png)",
    ):
      self.assertIn(text, page)
    picture = (workdir / "loss_latents.png").read_bytes()
    self.assertTrue(picture.startswith(b"\x89PNG"))

  def test_a_run_started_from_python_leaves_one(self):
    workdir = pathlib.Path(self.create_tempdir().full_path)
    config = smoke.get_config()
    config.run_phases = config.export_phases = ("latents",)
    config.phases.latents.steps = 1
    config.phases.latents.optimizers.encoder.schedule.kind = "constant"
    self.assertTrue(train(config, workdir).complete)
    self.assertIn("| latents | 1 |", (workdir / "SUMMARY.md").read_text())

  def test_codes_that_ran_away_are_told_of(self):
    healthy = {"saturated_identity": 0.02, "saturated_residual": 0.0}
    self.assertEqual(saturation_warning(healthy), "")
    self.assertEqual(saturation_warning({"loss": 1.0}), "")
    told = saturation_warning(healthy | {"saturated_residual": 0.74})
    self.assertIn("74% of a code is saturated", told)


if __name__ == "__main__":
  absltest.main()
