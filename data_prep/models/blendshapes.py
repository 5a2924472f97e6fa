"""Expression modes about the neutral face, in standard deviations."""

from collections.abc import Mapping, Sequence
import dataclasses
import re
import types

from jaxtyping import Float, Int
import numpy as np

from disentangle3d.types import UserError

# Where the mean of an expression model goes.
EXPRESSION_MEANS = ("modes", "neutral")
_NUM_RANDOM_EXPRESSIONS = 10_000
_KEPT_EXPRESSIONS = 2_000
# How often a movement is made, and how often by one side of the face alone.
_ACTIVE = 0.125
_ONE_SIDED = 0.2
_MOST_DEFAULT_MODES = 29
_SIDE = re.compile(r"_(L|R)$")
_NOTHING: Mapping[int, tuple[int, float]] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True, eq=False)
class BlendshapeModes:
  """Modes made of X blendshapes.

  Attributes:
    mixing: The blendshape weights of each mode, `[X, E]`: mode e is the sum
      over x of mixing[x, e] blendshape[x].
    samples: Coefficients of random expressions, `[N, E]`.
  """

  mixing: Float[np.ndarray, "X E"]
  samples: Float[np.ndarray, "N E"]


def movements_by_name(names: Sequence[str]) -> Int[np.ndarray, "X"]:
  """The movement that each blendshape belongs to: `eyeBlink_L`, `eyeBlink_R`.

  Returns:
    Numbers from 0, alike for names alike but for a last `_L` or `_R`.
  """
  stems = [_SIDE.sub("", name) for name in names]
  return np.unique(stems, return_inverse=True)[1]


def random_weights(
  movements: Int[np.ndarray, "X"],
  count: int,
  *,
  seed: int,
  within: Mapping[int, tuple[int, float]] = _NOTHING,
) -> Float[np.ndarray, "count X"]:
  """Blendshape weights of random expressions, in [0, 1].

  Every movement is made with a probability of 1/8, at a weight uniform in
  [0, 1]; where a face has two sides for it, both do it alike, but for one time
  in five, when only one does: winks and smirks are rare.

  Args:
    movements: Of each blendshape, numbers from 0.
    count: How many expressions.
    seed: Of the generator.
    within: For a blendshape that only takes back what another does, that other
      one and the part of its weight that is the most it can have.

  Returns:
    Weights, zero where a blendshape does not take part.
  """
  rng = np.random.default_rng(seed)
  shape = (count, int(movements.max()) + 1)
  made = rng.random(shape) * (rng.random(shape) < _ACTIVE)
  alone = rng.random(shape) < _ONE_SIDED
  second = rng.random(shape) < 0.5
  weights = made[:, movements]
  for movement in range(shape[1]):
    sides = np.flatnonzero(movements == movement)
    if len(sides) == 2:
      resting = np.where(second[:, movement], sides[0], sides[1])
      rows = np.flatnonzero(alone[:, movement])
      weights[rows, resting[rows]] = 0.0
  for back, (other, most) in within.items():
    weights[:, back] *= most * weights[:, other]
  return weights


def blendshape_modes(
  blendshapes: Float[np.ndarray, "X V 3"],
  num_modes: int | None,
  *,
  seed: int,
  movements: Int[np.ndarray, "X"] | None = None,
  within: Mapping[int, tuple[int, float]] = _NOTHING,
) -> BlendshapeModes:
  """Modes of unit standard deviation for blendshapes without statistics.

  The modes are the right singular vectors of the shapes of `random_weights`,
  taken about the neutral (uncentred: zero stays the neutral face), times the
  root mean square of their coefficient. The X x X moments of weights and of
  shapes have the same singular values, and are all that is decomposed.

  Args:
    blendshapes: Offsets from the neutral at weight 1, `[X, V, 3]`.
    num_modes: E, how many modes to keep, the largest first; None keeps 29, or
      all where there are fewer.
    seed: Of the random expressions.
    movements: From `movements_by_name`; None is one for each blendshape.
    within: See `random_weights`.

  Returns:
    The modes, and some of the expressions that they are of.

  Raises:
    UserError: The blendshapes span fewer than `num_modes` dimensions.
  """
  count = len(blendshapes)
  if movements is None:
    movements = np.arange(count)
  weights = random_weights(
    movements, _NUM_RANDOM_EXPRESSIONS, seed=seed, within=within
  )
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
  mixing = mixing * np.sign(mixing[largest, np.arange(num_modes)])[None]
  # Orthogonal modes: what of the others is cut off does not mix in.
  samples = weights[:_KEPT_EXPRESSIONS] @ np.linalg.solve(moment, mixing)
  return BlendshapeModes(mixing, samples)


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
