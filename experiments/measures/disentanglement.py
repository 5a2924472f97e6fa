"""Whether identity is in the identity code and only there, by many measures."""

from collections.abc import Mapping, Sequence
import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.evaluation.bootstrap import Interval, mean_and_interval
from disentangle3d.evaluation.code_scores import CodeScores, score_pairs
from disentangle3d.evaluation.disentanglement import (
  Classification,
  Drift,
  classify_linearly,
  identity_drift,
  swap_partners,
  swap_shapes,
  variance_ratio,
)
from disentangle3d.evaluation.pair_plans import draw_pairs, plan_pairs
from disentangle3d.evaluation.reconstruction import shape_error
from disentangle3d.evaluation.rows import evenly, in_batches
from disentangle3d.training.export import Network
from disentangle3d.types import Latents
from experiments.measures.codes import encode_crops
from experiments.sets.heldout import HeldOut, shape_methods, truth_of

CODES = ("identity", "residual")
YAW_BINS_DEG = (0, 30, 60, 90)
_BATCH = 10


@dataclasses.dataclass(frozen=True, eq=False)
class CodeFindings:
  """What one of a network's codes knows.

  Attributes:
    variance_ratio: Between people over within, photos of any kind.
    verification: Of the same photos; AUC 50 is knowing nobody.
    yaw_drift: From the frontal photos, in bins of |yaw|.
    expression_drift: From the neutral photos, by class.
    expression: The class, read out of the code.
  """

  variance_ratio: float
  verification: CodeScores
  yaw_drift: Drift
  expression_drift: Drift
  expression: Classification


@dataclasses.dataclass(frozen=True, eq=False)
class Disentanglement:
  """What one network separates.

  Attributes:
    codes: By `CODES`.
    swapped: RMSE in mm of the identity of one photo with the residual of
      another's, against the true combination, mean and interval.
    own: The same with the photo's own residual.
  """

  codes: Mapping[str, CodeFindings]
  swapped: Interval
  own: Interval


def measure_disentanglement(
  network: Network,
  outdoor: HeldOut,
  yaw: HeldOut,
  expression: HeldOut,
  *,
  swaps: int,
) -> Disentanglement:
  """Measures a network on the three synthetic sets.

  Args:
    network: Whose codes and shapes.
    outdoor: Photos of any kind.
    yaw: A sweep of yaw, neutral.
    expression: Every expression class, nearly frontal.
    swaps: How many photos of `outdoor` to swap; at least two people's.

  Returns:
    `Disentanglement`.

  Raises:
    ValueError: There are too few people, photos or conditions.
  """
  sets = {"outdoor": outdoor, "yaw": yaw, "expression": expression}
  codes = {
    name: encode_crops(network, np.asarray(heldout.photos.image))
    for name, heldout in sets.items()
  }
  swapped, own = _swap(network, outdoor, swaps)
  return Disentanglement(
    {code: code_findings(code, codes, sets) for code in CODES}, swapped, own
  )


def code_findings(
  code: str, codes: Mapping[str, Latents], sets: Mapping[str, HeldOut]
) -> CodeFindings:
  """What one code knows.

  Args:
    code: In `CODES`.
    codes: Of the photos of `outdoor`, `yaw` and `expression`.
    sets: Those photos.
  """
  rows = {name: np.asarray(getattr(of, code)) for name, of in codes.items()}
  photos = {name: heldout.photos for name, heldout in sets.items()}
  people = photos["outdoor"].person
  width = YAW_BINS_DEG[1]
  bins = np.round(np.abs(np.degrees(photos["yaw"].yaw_rad)) / width)
  kinds = photos["expression"].expression_class.astype(np.int32)
  owners = photos["expression"].person
  return CodeFindings(
    variance_ratio=variance_ratio(rows["outdoor"], people),
    verification=score_pairs(
      rows["outdoor"], draw_pairs(people, plan_pairs(people))
    ),
    yaw_drift=identity_drift(
      rows["yaw"], photos["yaw"].person, bins.astype(np.int32)
    ),
    expression_drift=identity_drift(rows["expression"], owners, kinds),
    expression=classify_linearly(
      rows["expression"], kinds, owners, folds=min(5, len(np.unique(owners)))
    ),
  )


def _swap(
  network: Network, heldout: HeldOut, count: int
) -> tuple[Interval, Interval]:
  rows = evenly(heldout.num_photos, count)
  method = shape_methods(heldout, {"it": network})["it"]
  return swap_errors(
    in_batches(method.make, rows, _BATCH),
    in_batches(truth_of(heldout).make, rows, _BATCH),
    heldout.photos.person[rows],
    np.asarray(heldout.fitter.landmark_vertices),
  )


def swap_errors(
  made: Sequence[Float[np.ndarray, "N V 3"]],
  truth: Sequence[Float[np.ndarray, "N V 3"]],
  people: Int[Array | np.ndarray, "N"],
  landmark_vertices: Int[np.ndarray, "68"],
) -> tuple[Interval, Interval]:
  """The swap test: identity of each photo with the residual of another's.

  Args:
    made: Full and identity shapes, mm.
    truth: The true ones.
    people: Who is in each photo.
    landmark_vertices: The vertices to align by.

  Returns:
    RMSE in mm of the swapped shapes against the true combination, and of the
    photos' own shapes, mean and interval.

  Raises:
    ValueError: Somebody has more than half of the photos, or shapes disagree.
  """
  partners = swap_partners(people)
  swapped, true_swapped = (
    swap_shapes(shape, identity_shape, partners)
    for shape, identity_shape in (made, truth)
  )
  return (
    _error(swapped, true_swapped, landmark_vertices, people),
    _error(made[0], truth[0], landmark_vertices, people),
  )


def _error(
  made: np.ndarray,
  truth: np.ndarray,
  marks: np.ndarray,
  people: Array | np.ndarray,
) -> Interval:
  def error(rows: np.ndarray) -> Array:
    found = shape_error(
      jnp.asarray(made[rows]),
      jnp.asarray(truth[rows]),
      landmark_vertices=jnp.asarray(marks),
    )
    return found.rmse_mm

  errors = in_batches(error, np.arange(len(made)), _BATCH).astype(np.float64)
  return mean_and_interval(errors, groups=people)
