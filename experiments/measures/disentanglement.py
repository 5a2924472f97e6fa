"""Whether identity is in the identity code and only there, by many measures."""

from collections.abc import Mapping, Sequence
import dataclasses

import jax.numpy as jnp
from jaxtyping import Float, Int
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
from disentangle3d.evaluation.shape_scores import Method
from disentangle3d.training.export import Network
from disentangle3d.types import Latents
from experiments.measures.codes import encode_photos
from experiments.sets.heldout import HeldOut, shape_methods, true_shapes

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
    name: encode_photos(network, heldout.photos.image)
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
      rows["expression"],
      kinds,
      owners,
      folds=min(5, len(np.unique(owners))),
    ),
  )


def _swap(
  network: Network, heldout: HeldOut, count: int
) -> tuple[Interval, Interval]:
  count = min(count, heldout.num_photos)
  rows = np.linspace(0, heldout.num_photos - 1, count).round().astype(np.int32)
  people = heldout.photos.person[rows]
  method = shape_methods(heldout, {"it": network})["it"]
  made = shapes_of(method, rows)
  truth = tuple(
    np.concatenate(parts)
    for parts in zip(
      *(true_shapes(heldout, part) for part in _batches(rows)), strict=True
    )
  )
  truth = tuple(part[:count] for part in truth)
  return swap_errors(
    made, truth, people, np.asarray(heldout.fitter.landmark_vertices)
  )


def swap_errors(
  made: Sequence[Float[np.ndarray, "N V 3"]],
  truth: Sequence[Float[np.ndarray, "N V 3"]],
  people: Int[np.ndarray, "N"],
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
    swap_shapes(*pair, partners) for pair in (made, truth)
  )
  return (
    _error(swapped, true_swapped, landmark_vertices, people),
    _error(made[0], truth[0], landmark_vertices, people),
  )


def shapes_of(
  method: Method, rows: np.ndarray
) -> tuple[Float[np.ndarray, "B V 3"], Float[np.ndarray, "B V 3"]]:
  """A method's full and identity shapes, a batch of one size at a time."""
  parts = [
    method.shapes(method.data, jnp.asarray(batch)) for batch in _batches(rows)
  ]
  shape, identity_shape = (
    np.concatenate([np.asarray(part) for part in one])[: len(rows)]
    for one in zip(*parts, strict=True)
  )
  return shape, identity_shape


def _batches(rows: np.ndarray) -> Sequence[np.ndarray]:
  """Batches of one size; the last is filled up with the last row."""
  starts = range(0, len(rows), _BATCH)
  return [
    rows[np.minimum(np.arange(s, s + _BATCH), len(rows) - 1)] for s in starts
  ]


def _error(
  made: np.ndarray, truth: np.ndarray, marks: np.ndarray, people: np.ndarray
) -> Interval:
  parts = [
    np.asarray(
      shape_error(
        jnp.asarray(made[batch]),
        jnp.asarray(truth[batch]),
        landmark_vertices=jnp.asarray(marks),
      ).rmse_mm
    )
    for batch in _batches(np.arange(len(made)))
  ]
  errors = np.concatenate(parts)[: len(made)].astype(np.float64)
  return mean_and_interval(errors, groups=people)
