import importlib
import pathlib

from absl.testing import absltest, parameterized
import jax
import numpy as np

from disentangle3d.faces.mirroring import Mirroring
from disentangle3d.network.margins import MARGINS
from disentangle3d.training.batches import TargetBasis, TrainBatch
from disentangle3d.training.export import abstract_params
from disentangle3d.training.phase_states import abstract_phase_params
from disentangle3d.training.phases import trunk_stands_still
from disentangle3d.training.placement import AXIS
from disentangle3d.training.state import initial_state
from disentangle3d.training.steps import make_train_step
from disentangle3d.types import CASIA_NUM_IMAGES
from experiments.training.inputs import face_model_of
from experiments.training.phases import phases_of
from tests.fixtures import REPOSITORY

_NAMES = sorted(
  path.stem
  for path in (REPOSITORY / "experiments" / "configs").glob("*.py")
  if "def get_config" in path.read_text()
)


def _config(name):
  return importlib.import_module(f"experiments.configs.{name}").get_config()


def _abstract_batch(model, batch_size):
  """Of one device, as a dataset would give it."""

  def rows(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct((1, batch_size, *shape), dtype)

  def shared(*shape):
    return jax.ShapeDtypeStruct(shape, np.float32)

  sizes, flat = (model.identity_dim, model.residual_dim), 3 * model.num_vertices
  return TrainBatch(
    position=rows(dtype=np.int32),
    image=rows(112, 96, 3, dtype=np.uint8),
    label=rows(dtype=np.int32),
    identity_coefficients=rows(sizes[0]),
    expression_coefficients=rows(sizes[1]),
    basis=TargetBasis(
      *(shared(size, flat) for size in sizes),
      mirroring=Mirroring(
        shared(sizes[0], sizes[0]), shared(sizes[0]), shared(sizes[1], sizes[1])
      ),
    ),
  )


class ConfigsTest(parameterized.TestCase):
  @parameterized.parameters(*_NAMES)
  def test_config_locks_and_describes_phases_and_a_network(self, name):
    config = _config(name).lock()
    phases = phases_of(config)
    self.assertEqual([p.name for p in phases], list(config.run_phases))
    params = abstract_params(face_model_of(config))
    self.assertEqual(
      set(params),
      {"encoder", "identity_decoder", "residual_decoder", "mean_shape"},
    )
    with self.assertRaises(AttributeError):
      config.no_such_key = 1

  @parameterized.parameters("paper", "fake_data", "demo_identity_shape")
  def test_the_step_of_every_phase_traces_at_its_sizes(self, name):
    config = _config(name)
    for phase in phases_of(config):
      self._trace(config, phase)

  @parameterized.parameters("a_softmax", "arcface")
  def test_photographs_train_any_head_beside_an_unfrozen_trunk(self, kind):
    config = _config("photographs")
    config.update_from_flattened_dict(
      {
        "examples.kind": "grain",
        "identity_head.kind": kind,
        "augmentation.translation_px": 2,
        "augmentation.brightness": 0.1,
        "phases.joint_recognition.weights.residual_likeness": 1.0,
        "phases.joint_recognition.optimizers.encoder.trunk_factor": 0.1,
      }
    )
    phase = phases_of(config)[2]
    encoder = phase.optimizers["encoder"]
    self.assertEqual((encoder.rate, encoder.trunk_factor), (2e-3, 0.1))
    self.assertEqual((phase.head.kind, phase.augmentation.flip), (kind, 0.5))
    self.assertFalse(trunk_stands_still(phase))
    self._trace(config, phase)

  def _trace(self, config, phase):
    """Whether a step's state and metrics have the shapes that they should."""
    model, classes = face_model_of(config), config.examples.num_classes
    params = abstract_phase_params(model, phase, classes)
    state = jax.eval_shape(lambda p: initial_state(phase, p), params)
    step = make_train_step(
      model, phase, steps_per_epoch=10, num_classes=classes
    )
    axes = TrainBatch(0, 0, 0, 0, 0, basis=None)
    got, metrics = jax.eval_shape(
      jax.vmap(step, (None, axes, None), axis_name=AXIS),
      state,
      _abstract_batch(model, phase.batch_size),
      jax.random.key(0),
    )
    self.assertEqual(jax.tree.structure(got), jax.tree.structure(state))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(state), strict=True):
      self.assertEqual((a.shape, a.dtype), ((1, *b.shape), b.dtype))
    self.assertContainsSubset(phase.weights.keys() | {"loss"}, metrics)

  def test_all_names_are_found(self):
    self.assertContainsSubset(
      {"default", "demo", "demo_control", "paper", "fake_data", "smoke"}, _NAMES
    )

  def test_paper_has_the_papers_numbers(self):
    config = _config("paper")
    encoder, _, recognition, reconstruction = phases_of(config)
    self.assertEqual(face_model_of(config).num_vertices, 29_495)
    self.assertEqual(encoder.batch_size, 256)
    self.assertEqual(recognition.weights["reconstruction"], 0.5)
    self.assertEqual(reconstruction.weights["reconstruction"], 1.0)
    epoch = -(-CASIA_NUM_IMAGES // 256)
    self.assertEqual(recognition.steps, 10 * epoch)
    self.assertEqual(reconstruction.steps, 20 * epoch)
    self.assertEqual(recognition.plateau.max_epochs, 10)
    self.assertTrue(reconstruction.takes_over)

  def test_control_is_the_demos_joint_phases_without_identification(self):
    demo = phases_of(_config("demo"))[2:]
    control = phases_of(_config("demo_control"))
    for a, b in zip(demo, control, strict=True):
      self.assertEqual(a.seed, b.seed)
      self.assertEqual(dict(a.optimizers), dict(b.optimizers))
      self.assertEqual(a.steps, b.steps)
      self.assertNotIn("identification", b.weights)

  @parameterized.parameters(
    ("run_phases", ("warmup",), "config.run_phases: .* got warmup"),
    ("run_phases", (3,), "config.run_phases: .* got 3"),
    ("augmentation", {"a": 1}, "config.augmentation: .*'a'"),
    ("phases.latents.steps", 0, "config.phases.latents: latents.steps"),
    (
      "phases.decoders.optimizers.decoders.name",
      "adm",
      "config.phases.decoders: optimizers.decoders: .*adamw,.* got adm",
    ),
    (
      "phases.joint_recognition.optimizers.identity_head.rate",
      0.0,
      "joint_recognition: .*rate",
    ),
    (
      "phases.decoders.optimizers.decoders.trunk_factor",
      0.1,
      "decoders.optimizers: .*trunk_factor of 1, got 0.1; identity_decoder",
    ),
    ("identity_head.kind", "triplet", "identity_head.kind: .*triplet"),
    ("phases.latents.accumulate", 0, "accumulate: expected at least 1"),
    ("phases.latents.average_decay", 1.0, "average_decay"),
    ("phases.latents.examples", "prior", "the prior has no images for latent"),
  )
  def test_bad_values_are_named(self, key, value, message):
    config = _config("demo")
    config.update_from_flattened_dict({key: value})
    with self.assertRaisesRegex(ValueError, message):
      phases_of(config)

  @parameterized.parameters("softmax", *MARGINS)
  def test_one_key_chooses_the_head(self, kind):
    config = _config("paper")
    config.identity_head.kind = kind
    heads = [phase.head for phase in phases_of(config)[2:]]
    self.assertEqual([head.kind for head in heads], [kind] * 2)
    self.assertEqual(heads[0].margin, MARGINS.get(kind, 0.0))
    # The second joint phase goes on with the first one's annealing.
    self.assertEqual([head.steps_before for head in heads], [0, 19_100])

  def test_bad_networks_are_named(self):
    config = _config("demo")
    config.model.trunk = "resnet"
    with self.assertRaisesRegex(ValueError, "config.model.trunk: .*resnet"):
      face_model_of(config)
    config.model.identity_dim = 0
    with self.assertRaisesRegex(ValueError, "config.model.identity_dim: .* 0"):
      face_model_of(config)
    config.model.depth = 3
    with self.assertRaisesRegex(ValueError, "config.model: .*depth"):
      face_model_of(config)

  @parameterized.parameters(*_NAMES)
  def test_the_docstring_gives_the_command(self, name):
    path = pathlib.Path(REPOSITORY) / "experiments" / "configs" / f"{name}.py"
    self.assertIn("Command: python -m experiments.", path.read_text())


if __name__ == "__main__":
  absltest.main()
