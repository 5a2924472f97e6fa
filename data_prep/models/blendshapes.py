"""Expression modes about the neutral face, in standard deviations."""

from jaxtyping import Float
import numpy as np

from disentangle3d.types import UserError

# Where the mean of an expression model goes.
EXPRESSION_MEANS = ("modes", "neutral")
_NUM_RANDOM_EXPRESSIONS = 10_000
_MOST_ACTIVE_SHAPES = 4
_MOST_DEFAULT_MODES = 29


def blendshape_modes(
  blendshapes: Float[np.ndarray, "X V 3"], num_modes: int | None, *, seed: int
) -> Float[np.ndarray, "X E"]:
  """Modes of unit standard deviation for blendshapes without statistics.

  Random expressions have 1 to 4 active shapes at uniform weights in [0, 1].
  The modes are the right singular vectors of their shapes, taken about the
  neutral (uncentred: zero stays the neutral face), times the root mean square
  of their coefficient. The X x X moments of weights and of shapes have the
  same singular values, and are all that is decomposed.

  Args:
    blendshapes: Offsets from the neutral at weight 1, `[X, V, 3]`.
    num_modes: E, how many modes to keep, the largest first; None keeps 29, or
      all where there are fewer.
    seed: Of the random expressions.

  Returns:
    The blendshape weights of each mode, `[X, E]`: mode e is the sum over x of
    weight[x, e] blendshape[x].

  Raises:
    UserError: The blendshapes span fewer than `num_modes` dimensions.
  """
  count = len(blendshapes)
  rng = np.random.default_rng(seed)
  active = rng.integers(1, _MOST_ACTIVE_SHAPES + 1, _NUM_RANDOM_EXPRESSIONS)
  order = rng.random((_NUM_RANDOM_EXPRESSIONS, count)).argsort(1).argsort(1)
  weights = rng.random(order.shape) * (order < active[:, None])
  moment = weights.T @ weights / _NUM_RANDOM_EXPRESSIONS
  flat = blendshapes.reshape(count, -1)
  root = np.linalg.cholesky(moment)
  variances, vectors = np.linalg.eigh(root.T @ (flat @ flat.T) @ root)
  variances, vectors = variances[::-1], vectors[:, ::-1]
  rank = int(np.sum(variances > 1e-9 * variances[0]))
  if num_modes is None:
    num_modes = min(_MOST_DEFAULT_MODES, rank)
  if num_modes > rank:
    raise UserError(
      f"expression modes: expected at most {rank}, the dimensions that the"
      f" {count} blendshapes span, got {num_modes}"
    )
  mixing = (root @ vectors)[:, :num_modes]
  # An eigenvector's sign is the LAPACK build's; the largest weight decides.
  largest = np.abs(mixing).argmax(0)
  return mixing * np.sign(mixing[largest, np.arange(num_modes)])[None]


def modes_about_neutral(
  modes: Float[np.ndarray, "V3 E"], mean: Float[np.ndarray, "V3"]
) -> Float[np.ndarray, "V3 M"]:
  """Modes whose zero is the neutral face, for expressions with another mean.

  A model of expressions N(mean, modes modes^T) has its zero at the training
  expressions' mean, which is no neutral face. Orthogonal modes of the second
  moment about the neutral, modes modes^T + mean mean^T, take their place: the
  same shapes can be made, and as often at a distance from the neutral.
  `expression_mean="neutral"` of the readers adds the mean to the mean shape
  instead, and keeps the file's coefficients.

  Args:
    modes: Modes times their standard deviations.
    mean: The mean offset from the neutral.

  Returns:
    As many modes as there are dimensions, at most E + 1, the largest first;
    `modes` itself where the mean is zero.
  """
  if not mean.any():
    return modes
  together = np.concatenate([mean[:, None], modes], axis=1)
  moment, vectors = np.linalg.eigh(together.T @ together)
  rank = int(np.sum(moment > 1e-12 * moment[-1]))
  return (together @ vectors)[:, ::-1][:, :rank]
