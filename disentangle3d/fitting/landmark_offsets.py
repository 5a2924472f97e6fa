"""Where a detector's landmarks are on a model (host).

Generalised least squares for one offset in 3D a landmark, over all photos and
yaws. Identity and expression are Gaussian with the model's prior, cameras
unknown, the noise the same everywhere; all but the offsets is integrated out
(`integrated_faces`), so no face is bent to explain an offset. Between rounds
cameras are moved, and detections that lie much too far off left out.

Not observable, and set to nothing: what cameras can make up for (a common
scale, translation and turn about x, and a common stretch or slant of depth),
and the mean face of the people photographed, which is taken to be the model's.
"""

import dataclasses

from jaxtyping import Float
import numpy as np

from disentangle3d.fitting.batched_fitting import FitModel
from disentangle3d.fitting.integrated_faces import (
  IntegratedFaces,
  integrate_faces,
)
from disentangle3d.fitting.linear_faces import (
  SLIDING_YAW_RAD,
  PhotographedFaces,
  known_points,
  turned_away,
)
from disentangle3d.fitting.options import (
  DEFAULT_CALIBRATION,
  CalibrationOptions,
)
from disentangle3d.types import LANDMARK_MIRROR, NUM_LANDMARKS

# How far an offset moves that is not to.
_STAYS_MM = 1e-3
# Rounds for the cameras, before the first for offsets.
_CAMERA_ROUNDS = 2
_MIRROR_X = np.array([-1.0, 1.0, 1.0])


@dataclasses.dataclass(frozen=True, eq=False)
class OffsetEstimate:
  """What `estimate_offsets` found.

  Attributes:
    offset_mm: From the model's landmarks to the detector's, `[68, 3]`, model
      axes; zero where the model has no landmark.
    faces: The photos with their estimates; those given up are not trusted.
    before_mm: Root mean square of what camera, expression and identity leave
      of a landmark's distance without offsets, `[68]`.
    after_mm: The same with them.
  """

  offset_mm: Float[np.ndarray, "68 3"]
  faces: PhotographedFaces
  before_mm: Float[np.ndarray, "68"]
  after_mm: Float[np.ndarray, "68"]


def estimate_offsets(
  model: FitModel,
  faces: PhotographedFaces,
  *,
  options: CalibrationOptions = DEFAULT_CALIBRATION,
) -> OffsetEstimate:
  """Estimates where a detector's landmarks are, relative to a model's.

  x and y are from faces turned by less than `SLIDING_YAW_RAD`: weak perspective
  is wrong for others. Depth is then from all with x and y fixed; contour
  landmarks of the side turned away slide along the face, and do not count.

  Args:
    model: From `fit_model`.
    faces: Photos with estimates to start from, each on its own; best of faces
      at rest (`faces_at_rest`), as the mean of expressions passes for offsets.
    options: Priors and rounds.

  Returns:
    The offsets, which are symmetric under mirroring in x = 0 together with the
    landmarks that they are from.
  """
  known = known_points(model)
  noise = np.zeros((*faces.visible.shape, 2, 2))
  noise[:] = options.working_std_mm**2 * np.eye(2)
  alone = np.arange(len(faces.scale))
  points = np.tile(np.arange(NUM_LANDMARKS), (len(alone), 1))
  offset = start = _to_symmetry(model, known)
  before = after = np.zeros(NUM_LANDMARKS)
  regular = faces.visible
  # The cameras come first, depth last.
  for number in range(-_CAMERA_ROUNDS, 2 * options.rounds + 1):
    used = regular & known & ~turned_away(model, faces)
    in_depth = number >= options.rounds
    counted = in_depth | (np.abs(faces.yaw_rad) < SLIDING_YAW_RAD)
    now = integrate_faces(
      model, faces, points, offset, noise, used, alone, counted
    )
    trusted = now.reasonable_photos(used)
    faces = dataclasses.replace(now.faces, trusted=trusted)
    regular = now.reasonable_landmarks(used)
    after = _rms(
      options.working_std_mm**2 * now.force, used & regular & trusted[:, None]
    )
    if number == 0:
      before = after
    if 0 <= number < 2 * options.rounds:
      offset = offset + _solve(
        now, model, offset, start, known, options, in_depth=in_depth
      )
  return OffsetEstimate(
    offset_mm=offset, faces=faces, before_mm=before, after_mm=after
  )


def _to_symmetry(model: FitModel, known: np.ndarray) -> np.ndarray:
  """Offsets that make landmarks each other's mirror images, `[68, 3]`."""
  points = _own_points(model)
  both = known & known[LANDMARK_MIRROR]
  mirrored = points[LANDMARK_MIRROR] * _MIRROR_X
  return np.where(both[:, None], (mirrored - points) / 2, 0.0)


def _own_points(model: FitModel) -> np.ndarray:
  return np.asarray(model.model.mean_shape, np.float64)[:NUM_LANDMARKS]


def _rms(left: np.ndarray, used: np.ndarray) -> np.ndarray:
  square = np.sum(left**2, -1) * used
  return np.sqrt(square.sum(0) / np.maximum(used.sum(0), 1))


def _solve(
  now: IntegratedFaces,
  model: FitModel,
  offset: np.ndarray,
  start: np.ndarray,
  known: np.ndarray,
  options: CalibrationOptions,
  *,
  in_depth: bool,
) -> np.ndarray:
  """The change of the offsets, `[68, 3]`: least squares, prior and gauge.

  In depth x and y stay.
  """
  symmetric = _symmetric_basis()
  std = [options.offset_std_mm, options.offset_std_mm, options.depth_std_mm]
  centre = start
  if in_depth:
    std[:2] = [_STAYS_MM, _STAYS_MM]
    centre = np.where([True, True, False], offset, start)
  prior = np.tile(1 / np.square(std), NUM_LANDMARKS)
  prior[~np.repeat(known, 3)] = 1e12
  normal = symmetric.T @ (now.normal + np.diag(prior)) @ symmetric
  pull = symmetric.T @ (now.pull - prior * (offset - centre).ravel())
  unobservable = _unobservable(_own_points(model) + start, known)
  present = unobservable @ (offset - start).ravel()
  gauge = unobservable @ symmetric
  count = len(gauge)
  system = np.block([[normal, gauge.T], [gauge, np.zeros((count, count))]])
  found = np.linalg.solve(system, np.concatenate([pull, -present]))
  return (symmetric @ found[:-count]).reshape(NUM_LANDMARKS, 3)


def _symmetric_basis() -> np.ndarray:
  """Offsets that are their own mirror images, `[204, K]`."""
  columns = []
  for landmark, other in enumerate(LANDMARK_MIRROR):
    for axis in range(3):
      column = np.zeros((NUM_LANDMARKS, 3))
      column[landmark, axis] = 1.0
      column[other, axis] += _MIRROR_X[axis]
      if landmark <= other and column.any():
        columns.append(column.ravel() / np.abs(column).max())
  return np.stack(columns, 1)


def _unobservable(points: np.ndarray, known: np.ndarray) -> np.ndarray:
  """Symmetric offsets that cameras can make up for, `[6, 204]`.

  Scale, the two translations, the turn about x; and what a bas-relief does to
  depth, z to a z + b y, which turns by other angles undo but for second order.
  """
  points = (points - points[known].mean(0)) * known[:, None]
  up, forward = np.zeros((2, NUM_LANDMARKS, 3))
  up[known, 1] = forward[known, 2] = 1.0
  none = np.zeros(NUM_LANDMARKS)
  deeper, slanted, bowed = (
    np.stack(columns, 1)
    for columns in (
      (none, none, points[:, 2]),
      (none, none, points[:, 1]),
      (none, points[:, 2], none),
    )
  )
  rows = np.stack([points, up, forward, deeper, slanted, bowed])
  rows = rows.reshape(len(rows), -1)
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)
