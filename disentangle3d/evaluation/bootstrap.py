"""Seeded bootstrap intervals for the numbers in tables (host, NumPy).

Photos of one person resemble each other, so where people repeat the bootstrap
must draw people, not photos: pass `groups`.
"""

from collections.abc import Iterator
import dataclasses

from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.types import check_array

_ROWS_AT_A_TIME = 64


@dataclasses.dataclass(frozen=True)
class Interval:
  """An estimate with its percentile bootstrap interval.

  Attributes:
    mean: The estimate on the sample itself.
    low: Lower end of the interval.
    high: Upper end.
    level: Its coverage, e.g. 0.95.
  """

  mean: float
  low: float
  high: float
  level: float


def mean_and_interval(
  values: Float[Array | np.ndarray, "B"],
  *,
  groups: Int[Array | np.ndarray, "B"] | None = None,
  level: float = 0.95,
  samples: int = 2000,
  seed: int = 0,
) -> Interval:
  """The mean of a sample and how far to trust it.

  Args:
    values: One number a photo, `[B]`, finite.
    groups: The person of each photo, `[B]`; whole people are drawn. None
      draws single values.
    level: Coverage of the interval, in (0, 1).
    samples: Number of bootstrap samples.
    seed: The same seed gives the same interval.

  Returns:
    Mean and percentile interval, in the unit of `values`.

  Raises:
    ValueError: No values, a value that is not finite, lengths that disagree,
      or a level or number of samples out of range.
    TypeError: A dtype differs.
  """
  sizes = check_array("values", values, "B")
  numbers = np.asarray(values, np.float64)
  if not numbers.size or not np.isfinite(numbers).all():
    raise ValueError(
      "values: expected at least one number, all finite, got"
      f" {numbers.size} with {int((~np.isfinite(numbers)).sum())} not finite"
    )
  people = np.arange(len(numbers))
  if groups is not None:
    check_array("groups", groups, "B", dtype="integer", sizes=sizes)
    people = np.unique(np.asarray(groups), return_inverse=True)[1]
  totals = np.bincount(people, numbers)
  counts = np.bincount(people).astype(np.float64)
  means = np.concatenate(
    [
      (drawn @ totals) / (drawn @ counts)
      for drawn in draw_counts(len(totals), samples=samples, seed=seed)
    ]
  )
  return percentile_interval(float(numbers.mean()), means, level=level)


def paired_bootstrap(
  first: Float[Array | np.ndarray, "B"],
  second: Float[Array | np.ndarray, "B"],
  *,
  groups: Int[Array | np.ndarray, "B"] | None = None,
  level: float = 0.95,
  samples: int = 2000,
  seed: int = 0,
) -> Interval:
  """The mean of first - second over the same photos, with its interval.

  Drawing both from the same photos removes what makes a photo hard for either
  method; an interval that leaves out 0 is a difference.

  Args:
    first: One number a photo, `[B]`.
    second: Another method's numbers on the same photos, `[B]`.
    groups: The person of each photo, `[B]`, or None.
    level: Coverage of the interval.
    samples: Number of bootstrap samples.
    seed: The same seed gives the same interval.

  Returns:
    Mean difference and percentile interval.

  Raises:
    ValueError: The lengths disagree, or as `mean_and_interval`.
    TypeError: A dtype differs.
  """
  sizes = check_array("first", first, "B")
  check_array("second", second, "B", sizes=sizes)
  return mean_and_interval(
    np.asarray(first, np.float64) - np.asarray(second, np.float64),
    groups=groups,
    level=level,
    samples=samples,
    seed=seed,
  )


def draw_counts(size: int, *, samples: int, seed: int) -> Iterator[np.ndarray]:
  """How often each of `size` units is drawn in each bootstrap sample.

  Yields:
    Blocks of rows, `[<= 64, size]` float64, `samples` rows in all; each row
    sums to `size`.

  Raises:
    ValueError: `samples` is not positive.
  """
  if samples < 1:
    raise ValueError(f"samples: expected at least 1, got {samples}")
  rng = np.random.default_rng(seed)
  even = np.full(size, 1 / size)
  for start in range(0, samples, _ROWS_AT_A_TIME):
    rows = min(_ROWS_AT_A_TIME, samples - start)
    yield rng.multinomial(size, even, rows).astype(np.float64)


def percentile_interval(
  estimate: float, resampled: np.ndarray, *, level: float
) -> Interval:
  """The central `level` of the resampled estimates.

  Raises:
    ValueError: `level` is not between 0 and 1.
  """
  if not 0 < level < 1:
    raise ValueError(f"level: expected a number in (0, 1), got {level}")
  low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
  return Interval(estimate, float(low), float(high), level)
