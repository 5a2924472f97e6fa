"""A config's `examples.kind`, and that all kinds train the same."""

import pathlib

from absl.testing import absltest
import jax
import numpy as np
import pytest

from data_prep.datasets.synthetic_rendering import render_dataset
from data_prep.datasets.synthetic_set import SyntheticSet, world_of
from disentangle3d.training.input_pipeline import MemoryReader
from disentangle3d.training.resident import ResidentExamples
from disentangle3d.training.run_files import read_metrics
from experiments.configs import smoke
from experiments.training.inputs import open_input
from experiments.training.runs import train
from tests.training.cases import write_tiny_dataset


def _config(dataset, kind):
  config = smoke.get_config()
  config.examples.path = str(dataset)
  config.examples.kind = kind
  config.run_phases = ("latents",)
  config.export_phases = ()
  config.log_every = 1
  config.phases.latents.examples = "dataset"
  return config


class TrainingInputTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)

  def test_the_kind_says_where_examples_lie(self):
    dataset = write_tiny_dataset(self.root / "dataset")
    config = _config(dataset, "grain")
    config.model.num_vertices = 120
    devices = jax.devices()[:2]
    grain, _ = open_input(config, devices)
    self.assertIsInstance(grain.reader, MemoryReader)
    config.examples.kind = "device_resident"
    resident, _ = open_input(config, devices)
    self.assertIsNone(resident.reader)
    self.assertIsInstance(resident.held, ResidentExamples)
    self.assertLen(resident.held, 20)
    self.assertEqual(resident.num_classes, grain.num_classes)
    config.examples.kind = "synthetic"
    with self.assertRaisesRegex(ValueError, "of data_prep.render_synthetic"):
      open_input(config, devices)
    config.examples.kind = "disk"
    with self.assertRaisesRegex(ValueError, "grain, .*synthetic, got disk"):
      open_input(config, devices)

  def test_crops_of_another_template_are_refused(self):
    dataset = write_tiny_dataset(self.root / "dataset")
    config = _config(dataset, "grain")
    config.model.num_vertices = 120
    config.model.template = "whole_face"
    with self.assertRaisesRegex(
      ValueError, "config.model.template: expected 'sphereface', by which"
    ):
      open_input(config, jax.devices()[:1])
    config.model.template = "half"
    with self.assertRaisesRegex(ValueError, "config.model.template: .*'half'"):
      open_input(config, jax.devices()[:1])

  def test_people_without_a_dataset(self):
    config = _config("", "synthetic")
    config.examples.path = None
    config.examples.people = 3
    config.examples.photos_per_person = 5
    phase_input, fitter = open_input(config, jax.devices()[:1])
    self.assertEqual(phase_input.num_classes, 3)
    self.assertEqual(phase_input.num_examples, 15)
    self.assertEqual(fitter.identity_dim, 12)
    config.examples.kind = "device_resident"
    with self.assertRaisesRegex(ValueError, "expected a dataset folder for"):
      open_input(config, jax.devices()[:1])

  @pytest.mark.slow
  @pytest.mark.timeout(900)
  def test_all_kinds_train_the_same_on_a_synthetic_dataset(self):
    settings = SyntheticSet(
      people=4,
      photos_per_person=4,
      heldout_people=1,
      heldout_photos_per_person=2,
      num_vertices=600,
      identity_modes=12,
      expression_modes=5,
    )
    dataset = self.root / "dataset"
    render_dataset(dataset, settings, *world_of(settings))
    curves = {}
    for kind in ("grain", "device_resident", "synthetic"):
      train(_config(dataset, kind), self.root / kind)
      metrics = read_metrics(self.root / kind)
      curves[kind] = [line["loss"] for line in metrics]
      self.assertTrue((self.root / kind / "SUMMARY.md").is_file())
    self.assertLen(curves["grain"], 3)
    np.testing.assert_allclose(
      curves["device_resident"], curves["grain"], rtol=1e-6
    )
    # The renderer may round a byte the other way.
    np.testing.assert_allclose(curves["synthetic"], curves["grain"], rtol=1e-3)


if __name__ == "__main__":
  absltest.main()
