"""Scores of networks, fits and the lower bound on one synthetic set."""

from collections.abc import Mapping
import dataclasses

import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from data_prep.render_synthetic import SyntheticSet
from disentangle3d.evaluation.lower_bound import (
  Projector,
  make_projector,
  project_truth,
)
from disentangle3d.evaluation.reconstruction import shape_error
from disentangle3d.evaluation.side_by_side import SideBySide, side_by_side
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.training.export import Export
from experiments.heldout import (
  HeldOut,
  heldout_people,
  score_heldout,
  shape_methods,
  true_shapes,
)
from experiments.shape_scores import Method, ShapeScores
from experiments.synthetic_sets import world_of_set

LOWER_BOUND = "best 3DMM projection of the truth (lower bound)"
_BATCH = 10


@dataclasses.dataclass(frozen=True, eq=False)
class SetResults:
  """What was measured on one set.

  Attributes:
    name: Of the set.
    heldout: Its photos.
    scores: By method; the lower bound has no numbers over all vertices.
    error_map_mm: Mean distance of each vertex over the photos that are
      compared by every protocol, NaN beyond 95 mm, `[V]`, by method.
    table: Those photos under every protocol; None where there are none.
  """

  name: str
  heldout: HeldOut
  scores: Mapping[str, ShapeScores]
  error_map_mm: Mapping[str, Float[np.ndarray, "V"]]
  table: SideBySide | None

  @property
  def people(self) -> np.ndarray:
    """Who is in each photo."""
    return self.heldout.photos.person

  @property
  def yaw_deg(self) -> np.ndarray:
    """The true yaw, from the camera's rotation."""
    return np.degrees(self.heldout.photos.yaw_rad)


def measure_set(
  name: str,
  settings: SyntheticSet,
  world: SyntheticWorld,
  fitter: MorphableModel,
  networks: Mapping[str, Export],
  *,
  people: int,
  with_bound: bool,
  protocol_photos: int,
) -> SetResults:
  """Renders the set's photos of unseen people, and scores everything.

  Args:
    name: In `TEST_SETS`.
    settings: Of the dataset that was trained on.
    world: Its world.
    fitter: Its fitter's model.
    networks: By the names that tables print.
    people: How many people; 0 takes all held-out ones.
    with_bound: Whether to project the truth (the slowest part).
    protocol_photos: How many photos to compare by every protocol.

  Returns:
    The results.

  Raises:
    ValueError: The set is not known, or has fewer people or photos.
  """
  heldout = heldout_people(*world_of_set(name, settings, world, people), fitter)
  if not 0 <= protocol_photos <= heldout.num_photos:
    raise ValueError(
      f"protocol_photos: expected 0 to {heldout.num_photos}, got"
      f" {protocol_photos}"
    )
  scores = score_heldout(heldout, networks)
  if with_bound:
    scores[LOWER_BOUND] = bound_scores(heldout)
  maps, table = {}, None
  if protocol_photos:
    rows = (
      np.linspace(0, heldout.num_photos - 1, protocol_photos)
      .round()
      .astype(np.int32)
    )
    maps, table = _compare(heldout, shape_methods(heldout, networks), rows)
  return SetResults(name, heldout, scores, maps, table)


def bound_scores(heldout: HeldOut) -> ShapeScores:
  """The best the fitter's model can do, similarity and rigid by themselves."""
  fitter = heldout.fitter
  marks = np.asarray(fitter.landmark_vertices)
  identity_basis = np.asarray(fitter.identity_basis)
  whole = make_projector(
    fitter.mean_shape,
    np.concatenate([identity_basis, np.asarray(fitter.expression_basis)], -1),
    marks,
  )
  neutral = make_projector(fitter.mean_shape, identity_basis, marks)
  full = np.empty((2, heldout.num_photos))
  identity = np.empty((2, heldout.num_photos))
  done: dict[int, np.ndarray] = {}
  for row in range(heldout.num_photos):
    person = int(heldout.photos.person[row])
    shape, identity_shape = true_shapes(heldout, np.array([row], np.int32))
    full[:, row] = _both(whole, shape[0])
    if person not in done:
      done[person] = _both(neutral, identity_shape[0])
    identity[:, row] = done[person]
  missing = np.full(heldout.num_photos, np.nan)
  return ShapeScores(full[0], full[1], missing, missing, *identity)


def _both(projector: Projector, truth: np.ndarray) -> np.ndarray:
  return np.array(
    [
      project_truth(projector, truth, with_scale=with_scale).rmse_mm
      for with_scale in (True, False)
    ]
  )


def _compare(
  heldout: HeldOut, methods: Mapping[str, Method], rows: np.ndarray
) -> tuple[dict[str, np.ndarray], SideBySide]:
  truth, _ = true_shapes(heldout, rows)
  made = {name: _shapes(method, rows) for name, method in methods.items()}
  marks = np.asarray(heldout.fitter.landmark_vertices)
  maps = {}
  for name, shapes in made.items():
    error = shape_error(
      jnp.asarray(shapes),
      jnp.asarray(truth),
      landmark_vertices=jnp.asarray(marks),
    )
    inside = np.asarray(error.inside)
    total = np.sum(np.where(inside, error.distance_mm, 0), 0)
    count = inside.sum(0)
    maps[name] = np.where(
      2 * count >= len(rows), total / np.maximum(count, 1), np.nan
    )
  table = side_by_side(
    made,
    truth,
    landmark_vertices=marks,
    triangles=np.asarray(heldout.fitter.triangles),
    groups=heldout.photos.person[rows],
  )
  return maps, table


def _shapes(method: Method, rows: np.ndarray) -> np.ndarray:
  """A method's full shapes, a batch of one size at a time."""
  parts = []
  for start in range(0, len(rows), _BATCH):
    batch = np.minimum(np.arange(start, start + _BATCH), len(rows) - 1)
    shapes, _ = method.shapes(method.data, jnp.asarray(rows[batch]))
    parts.append(np.asarray(shapes))
  return np.concatenate(parts)[: len(rows)]
