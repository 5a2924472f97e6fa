"""The term that ties the identity component to the fitted identity shape."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.inference import reconstruct
from disentangle3d.network.face_model import init_params
from disentangle3d.training.batches import TrainBatch, target_basis
from disentangle3d.training.identification import Moment
from disentangle3d.training.phase_losses import phase_losses
from tests.training.cases import MODEL, MORPHABLE_MODEL, tiny_phases


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
    self.phase = tiny_phases(identity_shape=0.7, identification=0.0)[2]

  def _loss(self, params):
    terms, _ = phase_losses(
      MODEL,
      self.phase,
      params,
      self.batch,
      num_classes=1,
      moment=Moment(jnp.int32(0), jax.random.key(0), None),
    )
    return terms["identity_shape"]

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
    paper = tiny_phases()[2]
    self.assertEqual(self.phase.weights["identity_shape"], 0.7)
    self.assertEqual(set(paper.weights), {"reconstruction", "identification"})


if __name__ == "__main__":
  absltest.main()
