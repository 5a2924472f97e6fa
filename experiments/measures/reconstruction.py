"""Scores of networks, fits, meshes and the lower bound on a synthetic set."""

from collections.abc import Mapping, Sequence
import dataclasses

import jax.numpy as jnp
from jaxtyping import Float, Int
import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet
from disentangle3d.evaluation.lower_bound import (
  Projector,
  make_projector,
  project_truth,
)
from disentangle3d.evaluation.reconstruction import shape_error
from disentangle3d.evaluation.rows import evenly, in_batches
from disentangle3d.evaluation.scan_protocols import scan_error
from disentangle3d.evaluation.scans import Scan, scan_of
from disentangle3d.evaluation.shape_scores import Method, ShapeScores
from disentangle3d.evaluation.side_by_side import SideBySide, side_by_side
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.training.export import Network
from disentangle3d.types import UserError
from experiments.sets.heldout import (
  HeldOut,
  heldout_people,
  photo_names,
  score_heldout,
  shape_methods,
  true_shapes,
)
from experiments.sets.meshes import MeshFolder, corresponds, read_prediction
from experiments.sets.synthetic import world_of_set

_LOWER_BOUND = "best 3DMM projection of the truth (lower bound)"
_BATCH = 10


@dataclasses.dataclass(frozen=True, eq=False)
class SetResults:
  """What was measured on one set.

  Attributes:
    name: Of the set.
    heldout: Its photos.
    scores: By method; NaN where a method has no number for a photo.
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
    return np.asarray(self.heldout.photos.person)

  @property
  def yaw_deg(self) -> np.ndarray:
    """The true yaw, from the camera's rotation."""
    return np.degrees(self.heldout.photos.yaw_rad)


def measure_set(
  name: str,
  settings: SyntheticSet,
  world: SyntheticWorld,
  fitter: MorphableModel,
  networks: Mapping[str, Network],
  *,
  meshes: Sequence[MeshFolder] = (),
  people: int = 0,
  bound_people: int = 0,
  protocol_photos: int = 0,
) -> SetResults:
  """Renders the set's photos of unseen people, and scores everything.

  Args:
    name: In `TEST_SETS`.
    settings: Of the dataset that was trained on.
    world: Its world.
    fitter: Its fitter's model.
    networks: By the names that tables print.
    meshes: Other methods' results, under the set's name in their folders.
    people: How many people; 0 takes all held-out ones.
    bound_people: Of how many to project the truth (the slowest part).
    protocol_photos: How many photos to compare by every protocol.

  Returns:
    The results.

  Raises:
    UserError: The set is not known, or has fewer people or photos.
  """
  heldout = heldout_people(*world_of_set(name, settings, world, people), fitter)
  if not 0 <= protocol_photos <= heldout.num_photos:
    raise UserError(
      f"protocol_photos: expected 0 to {heldout.num_photos}, got"
      f" {protocol_photos}"
    )
  scores = score_heldout(heldout, networks)
  folders = {}
  for one in meshes:
    folder = dataclasses.replace(one, folder=one.folder / name)
    remark, errors = _mesh_scores(heldout, folder)
    folders[one.name + remark], scores[one.name + remark] = folder, errors
  if bound_people:
    chosen = np.unique(heldout.photos.person)[:bound_people]
    scores[_LOWER_BOUND] = _bound_scores(heldout, chosen)
  maps: dict[str, np.ndarray] = {}
  table = None
  if protocol_photos:
    maps, table = _compare(
      heldout,
      shape_methods(heldout, networks),
      folders,
      evenly(heldout.num_photos, protocol_photos),
    )
  return SetResults(name, heldout, scores, maps, table)


def _mesh_scores(
  heldout: HeldOut, meshes: MeshFolder
) -> tuple[str, ShapeScores]:
  """Scores another method's meshes; NaN where one is missing.

  Returns:
    What a reader of a table must know of the meshes, to go after the name;
    and the scores.

  Raises:
    UserError: There is no mesh of the set's photos, or one is broken.
  """
  triangles = np.asarray(heldout.fitter.triangles)
  marks = np.asarray(heldout.fitter.landmark_vertices)
  errors = np.full((4, heldout.num_photos), np.nan)
  same_topology = True
  photos = photo_names(heldout)
  for row, photo in enumerate(photos):
    truths = true_shapes(heldout, np.array([row], np.int32))
    for place, shapes in enumerate(truths):
      made = read_prediction(meshes, photo, identity=place == 1)
      if made is None:
        continue
      same = corresponds(meshes, made)
      same_topology &= same
      errors[2 * place : 2 * place + 2, row] = mesh_errors(
        made, scan_of(shapes[0], triangles, marks), marks if same else None
      )
  found = int(np.isfinite(errors[0]).sum())
  if not found:
    raise UserError(
      f"{meshes.folder}: expected meshes as {photos[0]}.obj, got none of"
      " this set's photos"
    )
  remarks = [] if same_topology else ["nearest points"]
  if found < len(photos):
    remarks.append(f"{found} of {len(photos)} photos")
  return (
    f" ({', '.join(remarks)})" if remarks else "",
    ShapeScores.only_within(errors),
  )


def mesh_errors(
  made: Scan, truth: Scan, marks: np.ndarray | None
) -> list[float]:
  """By corresponding vertices where the landmarks' are given, else nearest."""
  if marks is None:
    return [
      scan_error(made, truth, protocol=protocol).score_mm
      for protocol in ("liu2018", "liu2018_rigid")
    ]
  return [
    float(
      shape_error(
        jnp.asarray(made.surface.vertices, jnp.float32),
        jnp.asarray(truth.surface.vertices, jnp.float32),
        landmark_vertices=jnp.asarray(marks),
        protocol=protocol,
      ).rmse_mm
    )
    for protocol in ("liu2018", "liu2018_rigid")
  ]


def _bound_scores(
  heldout: HeldOut, people: Int[np.ndarray, "S"]
) -> ShapeScores:
  """The best the fitter's model can do for some people; NaN for the others."""
  fitter = heldout.fitter
  marks = np.asarray(fitter.landmark_vertices)
  identity_basis = np.asarray(fitter.identity_basis)
  whole = make_projector(
    fitter.mean_shape,
    np.concatenate([identity_basis, np.asarray(fitter.expression_basis)], -1),
    marks,
  )
  neutral = make_projector(fitter.mean_shape, identity_basis, marks)
  errors = np.full((4, heldout.num_photos), np.nan)
  done: dict[int, np.ndarray] = {}
  for row in np.flatnonzero(np.isin(heldout.photos.person, people)):
    person = int(heldout.photos.person[row])
    shape, identity_shape = true_shapes(heldout, np.array([row], np.int32))
    errors[:2, row] = _both(whole, shape[0])
    if person not in done:
      done[person] = _both(neutral, identity_shape[0])
    errors[2:, row] = done[person]
  return ShapeScores.only_within(errors)


def _both(projector: Projector, truth: np.ndarray) -> np.ndarray:
  """Similarity and rigid alignment."""
  return np.array(
    [
      project_truth(projector, truth, with_scale=with_scale).rmse_mm
      for with_scale in (True, False)
    ]
  )


def _compare(
  heldout: HeldOut,
  methods: Mapping[str, Method],
  folders: Mapping[str, MeshFolder],
  rows: np.ndarray,
) -> tuple[dict[str, np.ndarray], SideBySide]:
  truth, _ = true_shapes(heldout, rows)
  made = {
    name: in_batches(method.make, rows, _BATCH)[0]
    for name, method in methods.items()
  }
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
  names = photo_names(heldout)
  others = {
    name: [read_prediction(folder, names[row]) for row in rows]
    for name, folder in folders.items()
  }
  table = side_by_side(
    made,
    truth,
    landmark_vertices=marks,
    triangles=np.asarray(heldout.fitter.triangles),
    others=others,
    groups=heldout.photos.person[rows],
  )
  return maps, table
