"""Scores of networks, landmark fits and meshes against real scans."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses

from absl import logging
from jaxtyping import Float, Int
import numpy as np

from disentangle3d.evaluation.rows import equal_batches, evenly, in_batches
from disentangle3d.evaluation.scan_protocols import scan_error
from disentangle3d.evaluation.scans import Scan, scan_of
from disentangle3d.evaluation.shape_scores import Method, ShapeScores
from disentangle3d.evaluation.side_by_side import SideBySide, compare_scans
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  closest_coefficients,
)
from disentangle3d.fitting.batched_fitting import (
  ImageFits,
  fit_model,
  fit_subjects,
)
from disentangle3d.fitting.calibration_choice import (
  AUTO,
  calibrated_model,
  calibration_text,
)
from disentangle3d.fitting.options import (
  ABOUT_A_NETWORK,
  DEFAULT_OPTIONS,
  FitOptions,
)
from disentangle3d.training.export import Network
from disentangle3d.types import UserError
from experiments.sets.heldout import MULTI_FIT, SINGLE_FIT, photo_methods
from experiments.sets.meshes import MeshFolder, read_prediction
from experiments.sets.scans import FacePhoto, ScanSet, load_scan

_BATCH = 10
_PROTOCOLS = ("liu2018", "liu2018_rigid")


@dataclasses.dataclass(frozen=True, eq=False)
class ScanResults:
  """What was measured on one set of scans.

  Attributes:
    set: Its photos.
    scores: By method; NaN where a method has no shape for a photo.
    first_errors_mm: By method, the distance of each vertex of the first
      photo's scan under liu2018, NaN where it is not measured, `[V]`.
    table: Some of the photos under every protocol; None where there are none.
  """

  set: ScanSet
  scores: Mapping[str, ShapeScores]
  first_errors_mm: Mapping[str, Float[np.ndarray, "V"]]
  table: SideBySide | None


@dataclasses.dataclass(frozen=True, eq=False)
class Maker:
  """Makes every method's shapes of photos.

  Attributes:
    methods: Of the networks' topology, by name.
    folders: Other methods' meshes.
    triangles: Of the networks, `[F, 3]`.
    landmark_vertices: Of the networks, `[68]`.
  """

  methods: Mapping[str, Method]
  folders: Sequence[MeshFolder]
  triangles: Int[np.ndarray, "F 3"]
  landmark_vertices: Int[np.ndarray, "68"]

  @property
  def names(self) -> list[str]:
    """Of all methods."""
    return [*self.methods, *(folder.name for folder in self.folders)]

  def make(
    self, photos: Sequence[FacePhoto], rows: Sequence[int]
  ) -> Iterator[tuple[int, dict[str, tuple[Scan | None, Scan | None]]]]:
    """For each row, by method: full and identity shape, or None."""
    for batch in equal_batches(np.asarray(rows), _BATCH):
      shapes = {
        name: [np.asarray(one) for one in method.make(batch)]
        for name, method in self.methods.items()
      }
      # The last row fills the last batch.
      for place, row in enumerate(dict.fromkeys(batch.tolist())):
        made: dict[str, tuple[Scan | None, Scan | None]] = {
          name: (self._scan(whole[place]), self._scan(neutral[place]))
          for name, (whole, neutral) in shapes.items()
        }
        for folder in self.folders:
          photo = photos[row].name
          made[folder.name] = (
            read_prediction(folder, photo),
            read_prediction(folder, photo, identity=True),
          )
        yield row, made

  def _scan(self, shape: Float[np.ndarray, "V 3"]) -> Scan:
    return scan_of(shape, self.triangles, self.landmark_vertices)


def make_maker(
  photos: Sequence[FacePhoto],
  networks: Mapping[str, Network],
  *,
  fitter: MorphableModel | None,
  landmark_calibration: str = AUTO,
  folders: Sequence[MeshFolder] = (),
) -> Maker:
  """Fits the landmarks, and gets everything ready.

  Args:
    photos: Of one set.
    networks: By name; all of one mesh. None at all wants a fitter.
    fitter: For landmark fits (and the mean shape); None leaves them out, and
      takes the first network's mean shape.
    landmark_calibration: Of the fits, as `calibrated_model` takes it.
    folders: Other methods' meshes of these photos.
  """
  model = fitter
  fits: dict[str, ImageFits] = {}
  if model is None:
    model = next(iter(networks.values())).mean_face()
  elif any(photo.visibility.any() for photo in photos):
    seen = {photo.detector for photo in photos if photo.visibility.any()}
    model = calibrated_model(model, landmark_calibration, detectors=seen)
    logging.info("landmark calibration: %s", calibration_text(model))
    fits = fit_photos(photos, model)
  images = np.stack([photo.image for photo in photos])
  mesh = next(iter(networks.values()), model)
  methods = photo_methods(model, images, fits, networks)
  if fits:
    about = {
      f"{name}, and the landmarks": _fit_about(photos, model, methods[name])
      for name, network in networks.items()
      if network.name == model.name
    }
    methods |= photo_methods(model, images, about, {})
  return Maker(
    methods=methods,
    folders=folders,
    triangles=np.asarray(mesh.triangles),
    landmark_vertices=np.asarray(mesh.landmark_vertices),
  )


def fit_photos(
  photos: Sequence[FacePhoto],
  model: MorphableModel,
  *,
  options: FitOptions = DEFAULT_OPTIONS,
) -> dict[str, ImageFits]:
  """Each photo by itself, and all of a person at once.

  Args:
    photos: Of one set.
    model: What is fitted to their landmarks.
    options: How.

  Returns:
    Fits of all photos, under `SINGLE_FIT` and `MULTI_FIT`.
  """
  people = np.array([photo.subject for photo in photos])
  return {
    SINGLE_FIT: _fit(photos, model, np.arange(len(photos)), options),
    MULTI_FIT: _fit(photos, model, people, options),
  }


def _fit(
  photos: Sequence[FacePhoto],
  model: MorphableModel,
  subjects: np.ndarray,
  options: FitOptions,
  identity_mean: Float[np.ndarray, "P I"] | None = None,
  expression_mean: Float[np.ndarray, "P E"] | None = None,
) -> ImageFits:
  contours = np.array([photo.visible_contour for photo in photos])
  return fit_subjects(
    fit_model(model, moving_contour=bool(contours.any())),
    np.stack([photo.landmarks for photo in photos]).astype(np.float32),
    np.stack([photo.visibility for photo in photos]).astype(np.float32),
    subjects,
    options=options,
    visible_contour=contours if contours.any() else None,
    identity_mean=identity_mean,
    expression_mean=expression_mean,
  )


def _fit_about(
  photos: Sequence[FacePhoto], model: MorphableModel, network: Method
) -> ImageFits:
  """Each photo by itself, about what a network says of it."""
  rows = np.arange(len(photos))
  mean = np.asarray(model.mean_shape)

  def said(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    whole, neutral = (np.asarray(shape) for shape in network.make(batch))
    return (
      closest_coefficients(model.identity_basis, neutral - mean),
      closest_coefficients(model.expression_basis, whole - neutral),
    )

  alpha, beta = in_batches(said, rows, _BATCH)
  return _fit(photos, model, rows, ABOUT_A_NETWORK, alpha, beta)


def measure_scans(
  faces: ScanSet, maker: Maker, *, protocol_photos: int
) -> ScanResults:
  """Scores every method on every photo by liu2018, on some by all protocols.

  Args:
    faces: The photos and their scans.
    maker: Of their shapes.
    protocol_photos: How many to compare by every protocol, evenly taken; at
      most as many as there are.

  Returns:
    The results.

  Raises:
    UserFileNotFoundError: A file of a scan is gone.
    UserError: A scan or a mesh is broken, or a folder has none of the meshes.
  """
  count = len(faces.photos)
  errors = {name: np.full((4, count), np.nan) for name in maker.names}
  first: dict[str, np.ndarray] = {}
  for row, made in maker.make(faces.photos, range(count)):
    photo = faces.photos[row]
    # The neutral scan first: where it is the photo's own, it is kept.
    for which, files in ((1, photo.neutral), (0, photo.scan)):
      truth = load_scan(files)
      for name, shapes in made.items():
        for place, protocol in enumerate(_PROTOCOLS):
          if (scan := shapes[which]) is not None:
            found = scan_error(scan, truth, protocol=protocol)
            errors[name][2 * which + place, row] = found.score_mm
            if (row, which, place) == (0, 0, 0):
              first[name] = np.where(found.inside, found.distance_mm, np.nan)
  for folder in maker.folders:
    if not np.isfinite(errors[folder.name]).any():
      raise UserError(
        f"{folder.folder}: expected meshes as {faces.photos[0].name}.obj, got"
        " none of this set's photos"
      )
  scores = {
    name: ShapeScores.only_within(found) for name, found in errors.items()
  }
  table = None
  if protocol_photos:
    rows = evenly(count, protocol_photos).tolist()
    table = compare_scans(
      maker.names,
      (
        (
          load_scan(faces.photos[row].scan),
          {name: whole for name, (whole, _) in made.items()},
        )
        for row, made in maker.make(faces.photos, rows)
      ),
      groups=faces.people[rows],
    )
  return ScanResults(faces, scores, first, table)
