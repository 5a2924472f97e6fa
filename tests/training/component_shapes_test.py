"""The terms that tie each component to the fitted one."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.inference import reconstruct
from disentangle3d.network.face_model import init_params
from disentangle3d.training.batches import TrainBatch, target_basis
from disentangle3d.training.phase_losses import LOSSES
from experiments.configs import default
from experiments.training.phases import phases_of
from tests.training.cases import MODEL, MORPHABLE_MODEL, forward_of


class ComponentShapesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.alpha = rng.normal(size=(3, 12)).astype(np.float32)
    self.batch = TrainBatch(
      position=jnp.arange(3),
      image=rng.integers(0, 256, (3, 112, 96, 3), np.uint8),
      label=jnp.arange(3),
      identity_coefficients=jnp.asarray(self.alpha),
      expression_coefficients=jnp.ones((3, 5)),
      basis=target_basis(MORPHABLE_MODEL),
    )
    self.params = init_params(jax.random.key(0), MODEL, MORPHABLE_MODEL)

  @parameterized.parameters("identity", "residual")
  def test_value_and_where_its_gradient_goes(self, part):
    def loss(params):
      return LOSSES[f"{part}_shape"](forward_of(params, self.batch))

    @jax.jit
    def value_slopes_and_shape(params):
      made = reconstruct(params, self.batch.image, model=MODEL)
      # Differentiating the trunk as well would take long to compile.
      decoders = {k: v for k, v in params.items() if k.endswith("decoder")}
      value, slopes = jax.value_and_grad(
        lambda some: jnp.mean(loss(params | some))
      )(decoders)
      return value, slopes, made

    value, pull, made = value_slopes_and_shape(self.params)
    made = jax.tree.map(np.asarray, made)
    identity = made.identity_shape - MORPHABLE_MODEL.mean_shape
    got, fitted = {
      "identity": (
        identity,
        np.einsum("vic,bc->bvi", MORPHABLE_MODEL.identity_basis, self.alpha),
      ),
      "residual": (
        made.shape - made.identity_shape,
        np.sum(MORPHABLE_MODEL.expression_basis, -1)[None],
      ),
    }[part]
    square = np.sum((got - fitted) ** 2, -1)
    np.testing.assert_allclose(value, square.mean(), rtol=1e-4)

    def moved(entry):
      return any(np.any(leaf) for leaf in jax.tree.leaves(entry))

    for name in ("identity", "residual"):
      self.assertEqual(moved(pull[f"{name}_decoder"]), name == part)

  def test_weight_0_is_the_paper(self):
    config = default.get_config()
    config.phases.joint_recognition.weights.identity_shape = 0.7
    _, _, changed, paper = phases_of(config)
    self.assertEqual(changed.weights["identity_shape"], 0.7)
    self.assertEqual(set(paper.weights), {"reconstruction", "identification"})


if __name__ == "__main__":
  absltest.main()
