"""Training on a still trunk's features is training with the trunk still."""

import os
import pathlib

from absl.testing import absltest, parameterized
import chex
import jax
import numpy as np

from data_prep.datasets.writer import write_dataset
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.sphereface import SphereFace, scale_images
from disentangle3d.network.trunks import feature_dim
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.export import (
  abstract_params,
  load_network,
  save_network,
)
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.run_files import read_metrics
from disentangle3d.training.trunk_features import trunk_digest
from experiments.configs import smoke
from experiments.training.features import open_features
from experiments.training.inputs import face_model_of, open_input
from experiments.training.runs import train
from tests.fixtures import random_leaves
from tests.training.cases import records

# Its faces can be mirrored.
_BASIS = procedural_face_model(
  num_vertices=600, identity_dim=12, expression_dim=5
)
_TRAINED = ("joint_recognition",)


class FeaturesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    write_dataset(self.root / "dataset", {"train": records()}, _BASIS, {})
    self.others = str(self.root / "others")
    write_dataset(self.others, {"train": list(records())[:5]}, _BASIS, {})
    self.start = self._network("start", seed=3)

  def _network(self, name, seed, trunk="tiny"):
    """Weights as fresh ones are spread, without a program to draw them."""
    model = FaceModel(trunk, 12, 5, _BASIS.num_vertices)
    params = random_leaves(abstract_params(model), seed)
    params["mean_shape"] = np.asarray(_BASIS.mean_shape)
    save_network(self.root / name, model, params, _BASIS, phase="test")
    return str(self.root / name)

  def _config(self, kind, flip=0.5):
    config = smoke.get_config()
    config.model.num_vertices = _BASIS.num_vertices
    config.init_from = self.start
    config.examples.path = str(self.root / "dataset")
    config.examples.kind = kind
    config.augmentation.flip = flip
    config.run_phases = _TRAINED
    config.export_phases = ()
    config.log_every = 1
    for name in _TRAINED:
      phase = config.phases[name]
      phase.steps, phase.examples = 4, "dataset"
      phase.optimizers.encoder.trunk_factor = 0.0
    return config

  def _kept(self):
    config = self._config("trunk_features")
    config.examples.features_file = str(self.root / "kept" / "features.npz")
    return config

  @parameterized.parameters(False, True)
  def test_the_curve_is_that_of_the_trunk_standing_still(self, with_others):
    outcomes, curves = [], []
    for kind in ("grain", "trunk_features"):
      config = self._config(kind)
      if with_others:
        config.examples.centre_identities = True
        config.examples.mixed_in = self.others
        config.examples.mixed_in_repeat = 3
      outcomes.append(train(config, self.root / kind))
      curves.append([row["loss"] for row in read_metrics(self.root / kind)])
    self.assertLen(curves[0], 4)
    np.testing.assert_allclose(*curves, rtol=1e-4)
    # Adam turns rounding into a share of its rate where a gradient is next to
    # 0, so single weights may differ by more than they do on the whole.
    apart = [one.params["identity_decoder"]["kernel"] for one in outcomes]
    self.assertLess(np.mean(np.abs(apart[0] - apart[1])), 1e-5)
    start = load_network(self.start).params["encoder"]
    for outcome in outcomes:
      encoder = outcome.params["encoder"]
      self.assertEqual(
        trunk_digest(encoder["trunk"], face_model_of(self._config("grain"))),
        trunk_digest(start["trunk"], face_model_of(self._config("grain"))),
      )
      chex.assert_trees_all_equal(encoder["trunk"], start["trunk"])
      for layer in ("identity_fc", "residual_fc"):
        moved = np.abs(encoder[layer]["kernel"] - start[layer]["kernel"])
        self.assertGreater(moved.max(), 1e-4)

  def test_a_code_made_of_the_map_learns_the_same(self):
    curves = []
    for kind in ("grain", "trunk_features"):
      config = self._config(kind)
      config.model.residual_from_map = True
      train(config, self.root / kind)
      curves.append([row["loss"] for row in read_metrics(self.root / kind)])
    # The map is kept in half precision.
    np.testing.assert_allclose(*curves, rtol=1e-3)
    network = load_network(self.root / "grain")
    self.assertTrue(network.model.residual_from_map)
    kernel = network.params["encoder"]["residual_fc"]["kernel"]
    # Its rows were 0 when the run began.
    self.assertGreater(np.abs(kernel[feature_dim("tiny") :]).max(), 1e-4)
    config = self._config("grain")
    config.init_from = str(self.root / "grain")
    with self.assertRaisesRegex(ValueError, "init_from: expected an export of"):
      train(config, self.root / "forgets")

  def test_features_are_the_trunks(self):
    config = self._kept()
    split = open_dataset(self.root / "dataset", "train")
    reader, _ = open_features(config, split, face_model_of(config))
    rows = [7, 0, 19]
    batch, crops = reader.read(rows), RecordReader(split).read(rows)
    self.assertIsNone(batch.image)
    trunk = load_network(self.start).params["encoder"]["trunk"]
    for feature, image in (
      (batch.feature, crops.image),
      (batch.mirrored_feature, crops.image[:, :, ::-1]),
    ):
      wanted = SphereFace("tiny").apply({"params": trunk}, scale_images(image))
      np.testing.assert_allclose(feature, wanted, atol=1e-5)
    for name in ("label", "identity_coefficients", "expression_coefficients"):
      np.testing.assert_array_equal(getattr(batch, name), getattr(crops, name))

  def test_a_file_is_added_to_and_of_others_refused(self):
    split = open_dataset(self.root / "dataset", "train")
    config = self._kept()
    config.augmentation.flip = 0.0
    model = face_model_of(config)
    reader, _ = open_features(config, split, model)
    self.assertIsNone(reader.read([0]).mirrored_feature)
    path = config.examples.features_file
    with self.assertRaisesRegex(ValueError, "with its map where .* got others"):
      open_features(config, split, model.clone(residual_from_map=True))
    self.assertEqual(set(np.load(path)), {"feature", "sha256"})
    config.augmentation.flip = 0.5
    open_features(config, split, model)
    self.assertIn("mirrored_feature", np.load(path))
    written = os.stat(path).st_mtime_ns
    open_features(config, split, model)
    self.assertEqual(os.stat(path).st_mtime_ns, written)
    config.init_from = self._network("other", seed=4)
    with self.assertRaisesRegex(ValueError, "features.npz: .*by this trunk"):
      open_features(config, split, model)

  @parameterized.parameters(False, True)
  def test_others_are_further_people_many_times(self, with_map):
    config = self._config("trunk_features")
    config.model.residual_from_map = with_map
    split = open_dataset(self.root / "dataset", "train")
    model = face_model_of(config)
    plain, people = open_features(config, split, model)
    config.examples.mixed_in = self.others
    config.examples.mixed_in_repeat = 3
    config.examples.centre_identities = True
    mixed, more_people = open_features(config, split, model)
    self.assertLen(mixed, len(plain) + 15)
    added = mixed.read(range(len(plain), len(mixed)))
    own = plain.read(np.repeat(np.arange(5), 3))
    np.testing.assert_array_equal(added.label, own.label + people)
    self.assertEqual(more_people, people + len(set(own.label.tolist())))
    width = feature_dim("tiny", with_map=with_map)
    for name in ("feature", "mirrored_feature"):
      self.assertEqual(getattr(added, name).shape, (15, width))
      np.testing.assert_allclose(
        getattr(added, name), getattr(own, name), atol=1e-5, rtol=1e-3
      )
    # The others say where 0 is; only the dataset's labels are centred.
    np.testing.assert_array_equal(
      added.identity_coefficients, own.identity_coefficients
    )
    everybody = mixed.read(range(len(plain)))
    means = [
      everybody.identity_coefficients[everybody.label == label].mean(0)
      for label in range(people)
    ]
    np.testing.assert_allclose(np.mean(means, 0), 0, atol=1e-5)
    phase_input, _ = open_input(config, jax.devices()[:1])
    self.assertEqual(
      (phase_input.num_examples, phase_input.num_classes),
      (len(mixed), more_people),
    )
    for name in ("mixed_in", "centre_identities"):
      config.examples.kind = "device_resident"
      with self.assertRaisesRegex(ValueError, f"{name}.*grain or trunk_feat"):
        open_input(config, jax.devices()[:1])
      config.examples[name] = None if name == "mixed_in" else False

  def test_what_it_is_not_for_is_refused(self):
    devices = jax.devices()[:1]
    for key, value, problem in (
      (
        "phases.joint_recognition.optimizers.encoder.trunk_factor",
        0.1,
        "joint_recognition trains it: give .*encoder.trunk_factor=0",
      ),
      ("init_from", None, "config.init_from: expected with .*trunk_features"),
      ("augmentation.brightness", 0.1, "config.augmentation: .*flips only"),
    ):
      config = self._config("trunk_features")
      config.update_from_flattened_dict({key: value})
      with self.assertRaisesRegex(ValueError, problem):
        open_input(config, devices)
    config = self._config("trunk_features")
    config.init_from = self._network("large", 0, "mobile")
    with self.assertRaisesRegex(ValueError, "expected the trunk tiny, got mob"):
      open_input(config, devices)


if __name__ == "__main__":
  absltest.main()
