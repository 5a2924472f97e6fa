"""How far located landmarks are from the truth, by the head's yaw."""

from collections.abc import Sequence
import dataclasses
import itertools

from jaxtyping import Float
import numpy as np

from disentangle3d.evaluation.bootstrap import (
  Interval,
  draw_counts,
  percentile_interval,
)
from disentangle3d.types import LANDMARK_MIRROR, NUM_LANDMARKS, check_array

YAW_EDGES_DEG = (0.0, 30.0, 60.0, 90.0)
FAILURE_PERCENT = 10.0
# Ranges of yaw in which a landmark's place on the face is one, and how many
# photos say where.
CONVENTION_DEG, LEAST_PHOTOS = 15.0, 8
_NASION, _CHIN = 27, 8
_PARTS = {
  "jaw": slice(0, 17),
  "brows": slice(17, 27),
  "nose": slice(27, 36),
  "eyes": slice(36, 48),
  "mouth": slice(48, 68),
}


def normalised_errors(
  found: Float[np.ndarray, "N 68 2"], truth: Float[np.ndarray, "N 68 2"]
) -> Float[np.ndarray, "N"]:
  """Mean distance over the root of the area of the truth's box, percent.

  Args:
    found: Landmarks, any pixels; NaN where a photo has none.
    truth: In the same pixels.

  Returns:
    A number a photo, NaN where there are no landmarks.

  Raises:
    ValueError: A shape differs.
    TypeError: A dtype differs.
  """
  away = _distances(found, truth)
  return 100 * np.linalg.norm(away, axis=-1).mean(-1)


def errors_without_convention(
  found: Float[np.ndarray, "N 68 2"],
  truth: Float[np.ndarray, "N 68 2"],
  yaw_deg: Float[np.ndarray, "N"],
  *,
  seed: int = 0,
) -> Float[np.ndarray, "N"]:
  """`normalised_errors` of a locator that knows where the truth marks a face.

  The same landmark lies at other places of the face in other annotations. So
  each landmark's median offset is taken out, by `CONVENTION_DEG` of yaw: each
  half of the photos, with the other side's mirrored, gives the other's.

  Args:
    found: Landmarks, any pixels; NaN where a photo has none.
    truth: In the same pixels.
    yaw_deg: Positive or negative, as the head turns.
    seed: Draws the halves.

  Returns:
    A number a photo, percent; NaN without landmarks, or where fewer than
    `LEAST_PHOTOS` are there to learn from.

  Raises:
    ValueError: A shape differs.
    TypeError: A dtype differs.
  """
  away = _distances(found, truth)
  away = np.einsum("nij,npj->npi", _upright(truth), away)
  turned = yaw_deg < 0
  away[turned] = away[turned][:, LANDMARK_MIRROR] * np.array([-1.0, 1.0])
  known = np.isfinite(away).all((1, 2))
  ranges = np.floor(np.abs(yaw_deg) / CONVENTION_DEG)
  half = np.random.default_rng(seed).permutation(len(found)) % 2
  errors = np.full(len(found), np.nan)
  for place in np.unique(ranges):
    for side in (0, 1):
      inside = known & (ranges == place)
      learned = away[inside & (half != side)]
      if len(learned) < LEAST_PHOTOS:
        continue
      here = inside & (half == side)
      rest = away[here] - np.median(learned, 0)[None]
      errors[here] = 100 * np.linalg.norm(rest, axis=-1).mean(-1)
  return errors


def part_errors(
  found: Float[np.ndarray, "N 68 2"], truth: Float[np.ndarray, "N 68 2"]
) -> dict[str, Float[np.ndarray, "N"]]:
  """`normalised_errors` of the parts of the face, by their names.

  Raises:
    ValueError: A shape differs.
    TypeError: A dtype differs.
  """
  away = 100 * np.linalg.norm(_distances(found, truth), axis=-1)
  return {part: away[:, places].mean(-1) for part, places in _PARTS.items()}


def _distances(
  found: Float[np.ndarray, "N 68 2"], truth: Float[np.ndarray, "N 68 2"]
) -> Float[np.ndarray, "N 68 2"]:
  """From the truth, over the root of the area of its box."""
  sizes = check_array("found", found, f"N {NUM_LANDMARKS} 2")
  check_array("truth", truth, f"N {NUM_LANDMARKS} 2", sizes=sizes)
  size = np.sqrt(np.prod(np.ptp(truth, axis=1), axis=-1))
  return (found - truth) / size[:, None, None]


def _upright(points: Float[np.ndarray, "N 68 2"]) -> Float[np.ndarray, "N 2 2"]:
  """Turns the line from chin to nasion to (0, -1): up, as y points down."""
  up = points[:, _NASION] - points[:, _CHIN]
  x, y = (up / np.linalg.norm(up, axis=-1, keepdims=True)).T
  return np.stack([np.stack([-y, x], -1), np.stack([-x, -y], -1)], 1)


@dataclasses.dataclass(frozen=True)
class YawBin:
  """One row of the table.

  Attributes:
    low_deg: Least |yaw|.
    high_deg: Up to which, exclusive.
    photos: How many.
    missing: Without landmarks.
    mean: Of the errors, percent; NaN without any.
    median: Same.
    failures: Share of located photos above `FAILURE_PERCENT`, percent.
  """

  low_deg: float
  high_deg: float
  photos: int
  missing: int
  mean: float
  median: float
  failures: float


def by_yaw(
  errors: Float[np.ndarray, "N"],
  yaw_deg: Float[np.ndarray, "N"],
  *,
  edges_deg: Sequence[float] = YAW_EDGES_DEG,
) -> list[YawBin]:
  """Errors by range of |yaw|; what lies beyond the last edge is left out."""
  bins = []
  for low, high in zip(edges_deg[:-1], edges_deg[1:], strict=True):
    inside = (np.abs(yaw_deg) >= low) & (np.abs(yaw_deg) < high)
    here = errors[inside]
    known = here[np.isfinite(here)]
    nan = float("nan")
    bins.append(
      YawBin(
        low_deg=low,
        high_deg=high,
        photos=len(here),
        missing=len(here) - len(known),
        mean=float(known.mean()) if len(known) else nan,
        median=float(np.median(known)) if len(known) else nan,
        failures=100 * float(np.mean(known > FAILURE_PERCENT))
        if len(known)
        else nan,
      )
    )
  return bins


def balanced_mean(bins: Sequence[YawBin]) -> float:
  """The mean of the ranges' means: each counts the same, percent."""
  return float(np.mean([one.mean for one in bins]))


def intervals_by_yaw(
  errors: Float[np.ndarray, "N"],
  yaw_deg: Float[np.ndarray, "N"],
  *,
  edges_deg: Sequence[float] = YAW_EDGES_DEG,
  samples: int = 2000,
  seed: int = 0,
) -> list[Interval]:
  """The means of `by_yaw` and `balanced_mean`, photos of a range drawn again.

  Returns:
    One of each range, NaN where it has no errors, then the balanced, NaN
    where any has none.

  Raises:
    ValueError: `samples` is not positive.
  """
  means, resampled = [], []
  for place, (low, high) in enumerate(itertools.pairwise(edges_deg)):
    inside = (np.abs(yaw_deg) >= low) & (np.abs(yaw_deg) < high)
    known = errors[inside & np.isfinite(errors)]
    if not len(known):
      means.append(float("nan"))
      resampled.append(np.full(samples, np.nan))
      continue
    counts = draw_counts(len(known), samples=samples, seed=seed + place)
    drawn = np.concatenate([block @ known for block in counts]) / len(known)
    means.append(float(known.mean()))
    resampled.append(drawn)
  means.append(float(np.mean(means)))
  resampled.append(np.mean(resampled, 0))
  return [
    percentile_interval(mean, drawn, level=0.95)
    for mean, drawn in zip(means, resampled, strict=True)
  ]


def cumulative_shares(
  errors: Float[np.ndarray, "N"], at_percent: Float[np.ndarray, "X"]
) -> Float[np.ndarray, "X"]:
  """Share of all photos located at least as well; missing ones are not."""
  ordered = np.sort(errors[np.isfinite(errors)])
  return np.searchsorted(ordered, at_percent, side="right") / max(
    len(errors), 1
  )
