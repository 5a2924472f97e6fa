"""How far located landmarks are from the truth, by the head's yaw."""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float
import numpy as np

from disentangle3d.types import NUM_LANDMARKS, check_array

YAW_EDGES_DEG = (0.0, 30.0, 60.0, 90.0)
FAILURE_PERCENT = 10.0


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
  sizes = check_array("found", found, f"N {NUM_LANDMARKS} 2")
  check_array("truth", truth, f"N {NUM_LANDMARKS} 2", sizes=sizes)
  size = np.sqrt(np.prod(np.ptp(truth, axis=1), axis=-1))
  return 100 * np.linalg.norm(found - truth, axis=-1).mean(-1) / size


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


def cumulative_shares(
  errors: Float[np.ndarray, "N"], at_percent: Float[np.ndarray, "X"]
) -> Float[np.ndarray, "X"]:
  """Share of all photos located at least as well; missing ones are not."""
  ordered = np.sort(errors[np.isfinite(errors)])
  return np.searchsorted(ordered, at_percent, side="right") / max(
    len(errors), 1
  )
