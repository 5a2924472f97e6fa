"""The term that ties the identity component to the fitted identity shape."""

from absl.testing import absltest
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


class IdentityShapeTest(absltest.TestCase):
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

  def _loss(self, params):
    return LOSSES["identity_shape"](forward_of(params, self.batch))

  def test_value_and_where_its_gradient_goes(self):
    @jax.jit
    def value_slopes_and_shape(params):
      made = reconstruct(params, self.batch.image, model=MODEL)
      # Differentiating the trunk as well would take long to compile.
      decoders = {k: v for k, v in params.items() if k.endswith("decoder")}
      value, slopes = jax.value_and_grad(
        lambda some: jnp.mean(self._loss(params | some))
      )(decoders)
      return value, slopes, made.identity_shape

    value, pull, made = value_slopes_and_shape(self.params)
    fitted = MORPHABLE_MODEL.mean_shape + np.einsum(
      "vic,bc->bvi", MORPHABLE_MODEL.identity_basis, self.alpha
    )
    square = np.sum((np.asarray(made) - fitted) ** 2, -1)
    np.testing.assert_allclose(value, square.mean(), rtol=1e-4)

    def moved(entry):
      return any(np.any(leaf) for leaf in jax.tree.leaves(entry))

    self.assertTrue(moved(pull["identity_decoder"]))
    self.assertFalse(moved(pull["residual_decoder"]))

  def test_weight_0_is_the_paper(self):
    config = default.get_config()
    config.phases.joint_recognition.weights.identity_shape = 0.7
    _, _, changed, paper = phases_of(config)
    self.assertEqual(changed.weights["identity_shape"], 0.7)
    self.assertEqual(set(paper.weights), {"reconstruction", "identification"})


if __name__ == "__main__":
  absltest.main()
