"""Scores of every method against the University of York's scans."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any

from jaxtyping import Float
import numpy as np

from data_prep.fitting.eos_fitter import EosFitter
from disentangle3d.evaluation.consistency import nearer_than_strangers
from disentangle3d.evaluation.reconstruction import RADIUS_MM
from disentangle3d.evaluation.scan_projection import (
  ScanProjection,
  project_scan,
)
from disentangle3d.evaluation.scan_protocols import scan_error
from disentangle3d.evaluation.scans import Scan, scan_of
from disentangle3d.evaluation.side_by_side import (
  OUTLINE_MEDIAN,
  OUTLINE_RMSE,
  SPHERE_RMSE,
  Sample,
  SideBySide,
  compare_scans,
)
from disentangle3d.faces.morphable_model import MorphableModel, synthesize_shape
from disentangle3d.types import NOSE_TIP
from experiments.measures.scans import Maker
from experiments.sets.heldout import MEAN_SHAPE
from experiments.sets.scans import FacePhoto
from experiments.sets.york import YorkPhoto, YorkSet

EOS = "eos-py"
BOUND = "best 3DMM projection of the scan (lower bound)"
# What any protocol should say is better than the mean shape.
NEARER = "mean shape, a fifth of the way to the lower bound"
_WAY = 0.2
Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class YorkResults:
  """What was measured.

  Attributes:
    set: The photos and scans.
    table: Every photo under every protocol.
    identity_rmse_mm: By method, root mean square distance of each photo's scan
      to the identity shape under `outline`, `[P]`; NaN where there is none.
    nearer: By method, how often a photo's identity shape is nearer to the same
      person's other one than to any of 20 strangers', `[P]`.
    bounds: The nearest shape of the 3DMM to each scan; none without a 3DMM.
  """

  set: YorkSet
  table: SideBySide
  identity_rmse_mm: Mapping[str, Float[np.ndarray, "P"]]
  nearer: Mapping[str, Float[np.ndarray, "P"]]
  bounds: Sequence[ScanProjection]


def measure_york(
  faces: YorkSet,
  maker: Maker,
  *,
  fitter: MorphableModel | None,
  eos_model: MorphableModel | None = None,
  run: Run = map,
) -> YorkResults:
  """Scores every method on every photo by every protocol.

  Args:
    faces: The photos and their scans.
    maker: Of the methods' shapes.
    fitter: The 3DMM whose nearest shapes bound the others; None for none.
    eos_model: What eos-py fits to the photos; None leaves it out.
    run: `map`, or one that does it in other processes.

  Raises:
    UserError: A mesh is broken.
    UserModuleNotFoundError: eos-py is not installed.
  """
  photos = faces.photos
  bounds = [] if fitter is None else list(_bounds(photos, fitter, run))
  eos = [] if eos_model is None else eos_shapes(photos, eos_model)
  names = [*maker.names, *[EOS] * bool(eos), *[NEARER, BOUND] * bool(bounds)]

  def samples() -> Iterator[Sample]:
    for row, made in maker.make(photos, range(len(photos))):
      shapes = {name: whole for name, (whole, _) in made.items()}
      if eos:
        shapes[EOS] = eos[row]
      if fitter is not None:
        mean, best = np.asarray(fitter.mean_shape), bounds[row].shape
        shapes[NEARER] = _scan(fitter, mean + _WAY * (best - mean))
        shapes[BOUND] = _scan(fitter, best)
      yield photos[row].scan, shapes

  def neutral() -> Iterator[Sample]:
    for row, made in maker.make(photos, range(len(photos))):
      yield photos[row].scan, {name: one for name, (_, one) in made.items()}

  table = compare_scans(names, samples(), groups=faces.people, run=run)
  errors = list(run(_outline_rmse, neutral()))
  return YorkResults(
    set=faces,
    table=table,
    identity_rmse_mm={
      name: np.array([row.get(name, np.nan) for row in errors])
      for name in maker.names
    },
    nearer=identity_nearer(faces, maker),
    bounds=bounds,
  )


def measure_york_yaw(
  faces: YorkSet, maker: Maker, *, run: Run = map
) -> YorkResults:
  """Scores every method on photos rendered from the scans, by two protocols.

  Args:
    faces: Of `york_yaw_set`.
    maker: Of the methods' shapes.
    run: See `measure_york`.

  Raises:
    UserError: A mesh is broken.
  """

  def samples() -> Iterator[Sample]:
    for row, made in maker.make(faces.photos, range(len(faces.photos))):
      scan = faces.photos[row].scan
      yield scan, {name: whole for name, (whole, _) in made.items()}

  table = compare_scans(
    maker.names,
    samples(),
    groups=faces.people,
    columns=(SPHERE_RMSE, OUTLINE_MEDIAN, OUTLINE_RMSE),
    run=run,
  )
  return YorkResults(faces, table, {}, {}, ())


def identity_nearer(faces: YorkSet, maker: Maker) -> dict[str, np.ndarray]:
  """How often a photo's identity shape is nearer than strangers' are.

  Args:
    faces: The photos.
    maker: Of the methods' shapes.

  Returns:
    By method of the networks' mesh, the mean shape left out, which tells nobody
    apart: see `nearer_than_strangers`.
  """
  shapes: dict[str, list[np.ndarray]] = {name: [] for name in maker.methods}
  for _, made in maker.make(faces.photos, range(len(faces.photos))):
    for name, rows in shapes.items():
      if (identity := made[name][1]) is not None:
        rows.append(identity.surface.vertices.astype(np.float32))
  if MEAN_SHAPE not in shapes:
    return {}
  reference = shapes.pop(MEAN_SHAPE)[0]
  nose_tip = reference[maker.landmark_vertices[NOSE_TIP]]
  region = np.linalg.norm(reference - nose_tip, axis=1) <= RADIUS_MM
  return {
    name: nearer_than_strangers(
      np.stack(rows), faces.people, reference=reference, region=region
    )
    for name, rows in shapes.items()
  }


def eos_shapes(
  photos: Sequence[FacePhoto], model: MorphableModel
) -> list[Scan]:
  """What eos-py makes of each photo's landmarks, by its own defaults.

  Args:
    photos: With landmarks in their crops.
    model: The 3DMM that it fits, whose mesh the shapes have.

  Raises:
    UserModuleNotFoundError: eos-py is not installed.
  """
  eos = EosFitter(model)
  shapes = []
  for photo in photos:
    codes = eos.fit(photo.landmarks, photo.visibility)
    made = synthesize_shape(model, *map(np.asarray, codes))
    shapes.append(_scan(model, np.asarray(made)))
  return shapes


def _bounds(
  photos: Sequence[YorkPhoto], model: MorphableModel, run: Run
) -> Iterable[ScanProjection]:
  """The nearest shape of a model to each scan, expressions free as well."""
  bases = (model.identity_basis, model.expression_basis)
  project = functools.partial(
    project_scan,
    np.asarray(model.mean_shape),
    np.concatenate([np.asarray(basis) for basis in bases], -1),
    np.asarray(model.triangles),
    np.asarray(model.landmark_vertices),
  )
  return run(project, [photo.scan for photo in photos])


def _outline_rmse(sample: Sample) -> dict[str, float]:
  truth, made = sample
  return {
    name: scan_error(shape, truth, protocol="outline").rmse_mm
    for name, shape in made.items()
    if shape is not None
  }


def _scan(model: MorphableModel, shape: np.ndarray) -> Scan:
  return scan_of(
    shape, np.asarray(model.triangles), np.asarray(model.landmark_vertices)
  )
