"""A face and its mirror image, in the coefficients of a 3DMM.

The mirror image of a shape has at each vertex the mirrored vertex' point with
x negated. Of mean + A a it is mirror(mean) + mirror(A) a, which is again
mean + A a' with a' = M a + m, M = A^+ mirror(A) and m = A^+ (mirror(mean) -
mean), as far as the model's span has it.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import UserError

# A model whose mirror image leaves its span by more cannot be mirrored.
_LARGEST_REST = 0.01


@flax.struct.dataclass
class Mirroring:
  """What takes a face's coefficients to its mirror image's.

  Attributes:
    identity: M of the identity basis, `[I, I]`.
    identity_offset: m, `[I]`, standard deviations; 0 for a symmetric mean.
    expression: M of the expression basis, `[E, E]`.
  """

  identity: Float[Array, "I I"]
  identity_offset: Float[Array, "I"]
  expression: Float[Array, "E E"]

  def __call__(
    self,
    identity_coefficients: Float[Array, "*B I"],
    expression_coefficients: Float[Array, "*B E"],
  ) -> tuple[Float[Array, "*B I"], Float[Array, "*B E"]]:
    """The mirror image's coefficients."""
    identity = identity_coefficients @ self.identity.T
    offset = jnp.broadcast_to(self.identity_offset, identity.shape)
    return identity + offset, expression_coefficients @ self.expression.T


def mirror_points(
  model: MorphableModel, points: Float[Array | np.ndarray, "V 3 ..."]
) -> Float[np.ndarray, "V 3 ..."]:
  """The mirror image of a shape, or of each column of a basis `[V, 3, C]`.

  Raises:
    UserError: The model does not say which vertices mirror each other.
  """
  if model.mirror_vertices is None:
    raise UserError(
      "model.mirror_vertices: expected mirrored vertices, got a model without"
    )
  mirrored = np.array(np.asarray(points)[np.asarray(model.mirror_vertices)])
  mirrored[:, 0] *= -1
  return mirrored


def mirroring_of(model: MorphableModel) -> Mirroring:
  """How coefficients of a model are mirrored; computed on the host.

  Raises:
    UserError: The model has no mirrored vertices, or its mirrored mean or
      basis leaves its span by over 1 % of the basis' norm.
  """
  identity = _columns(model.identity_basis)
  expression = _columns(model.expression_basis)
  mean = np.asarray(model.mean_shape, np.float64)
  offset = (mirror_points(model, mean) - mean).reshape(-1, 1)
  # Of the mean what counts is how far it is against one standard deviation.
  wanted = {
    "identity_basis": (
      identity,
      _columns(mirror_points(model, model.identity_basis)),
    ),
    "mean_shape": (identity, offset),
    "expression_basis": (
      expression,
      _columns(mirror_points(model, model.expression_basis)),
    ),
  }
  found = {}
  for name, (basis, mirrored) in wanted.items():
    found[name] = np.linalg.solve(basis.T @ basis, basis.T @ mirrored)
    rest = np.linalg.norm(mirrored - basis @ found[name])
    share = rest / np.linalg.norm(basis)
    if share > _LARGEST_REST:
      raise UserError(
        f"model.{name}: expected its mirror image within"
        f" {_LARGEST_REST:.0%} of the model's span, got {share:.1%} outside;"
        " this model's faces cannot be mirrored"
      )
  return Mirroring(
    identity=jnp.asarray(found["identity_basis"], jnp.float32),
    identity_offset=jnp.asarray(found["mean_shape"][:, 0], jnp.float32),
    expression=jnp.asarray(found["expression_basis"], jnp.float32),
  )


def _columns(
  basis: Float[Array | np.ndarray, "V 3 C"],
) -> Float[np.ndarray, "V3 C"]:
  array = np.asarray(basis, np.float64)
  return array.reshape(-1, array.shape[-1])
