"""Targets of more modes than a network has latents for."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.training.batches import TargetBasis, TrainBatch
from disentangle3d.training.phase_losses import (
  LOSSES,
  phase_losses,
  target_components,
)
from tests.training.cases import MORPHABLE_MODEL, forward_of, tiny_phases

_EXTRA = 3


class TargetComponentsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.basis = TargetBasis(
      identity=jnp.asarray(rng.normal(size=(12 + _EXTRA, 360)), jnp.float32),
      expression=jnp.asarray(rng.normal(size=(5 + _EXTRA, 360)), jnp.float32),
    )
    self.alpha = rng.normal(size=(2, 12 + _EXTRA)).astype(np.float32)
    self.beta = rng.normal(size=(2, 5 + _EXTRA)).astype(np.float32)

  def _batch(self, identity_dim, expression_dim):
    return TrainBatch(
      position=jnp.arange(2),
      image=np.zeros((2, 112, 96, 3), np.uint8),
      identity_coefficients=jnp.asarray(self.alpha[:, :identity_dim]),
      expression_coefficients=jnp.asarray(self.beta[:, :expression_dim]),
      basis=self.basis,
    )

  def test_all_modes_or_the_first_make_the_shape(self):
    for extra in (_EXTRA, 0):
      identity, residual = target_components(self._batch(12 + extra, 5 + extra))
      np.testing.assert_allclose(
        identity,
        self.alpha[:, : 12 + extra]
        @ np.asarray(self.basis.identity)[: 12 + extra],
        atol=1e-4,
      )
      np.testing.assert_allclose(
        residual,
        self.beta[:, : 5 + extra]
        @ np.asarray(self.basis.expression)[: 5 + extra],
        atol=1e-4,
      )

  def test_latents_are_taught_the_first_modes(self):
    rng = np.random.default_rng(1)
    kernels = {
      f"{name}_decoder": {
        "kernel": jnp.asarray(rng.normal(size=(size, 360)), jnp.float32)
      }
      for name, size in (("identity", 12), ("residual", 5))
    }
    terms = jax.jit(
      lambda params, batch: phase_losses(
        LOSSES, tiny_phases()[1], forward_of(params, batch)
      )
    )(
      {**kernels, "mean_shape": MORPHABLE_MODEL.mean_shape},
      self._batch(12 + _EXTRA, 5 + _EXTRA),
    )
    codes = np.clip(self.alpha[:, :12] / 3, -1, 1)
    made = codes @ np.asarray(kernels["identity_decoder"]["kernel"])
    wanted = self.alpha @ np.asarray(self.basis.identity)
    square = np.square(made - wanted).reshape(2, 120, 3).sum(-1).mean(-1)
    np.testing.assert_allclose(terms["identity_decoder"], square, rtol=1e-4)


if __name__ == "__main__":
  absltest.main()
