"""Landmarks of photographs, linear in all that a calibration must see through.

A photo's landmarks are measured in millimetres in the image of an upright
face: less the camera's translation, over its scale, turned by its roll; x to
the right, y down. There, about the present estimate of a face,

    observed = J_id alpha + J_exp beta + J_cam delta + F R d + noise,

where observed is the distance to the projected mean face, d the landmarks'
offsets in 3D, F R the camera's upright axes and delta a small change of the
camera: log scale, rotation vector, translation. Of a landmark's two numbers x
comes first; 68 of them make 136. Host arrays in float64.
"""

import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np
import scipy

from disentangle3d.faces.morphable_model import landmark_mask
from disentangle3d.fitting.batched_fitting import FitModel, ImageFits
from disentangle3d.fitting.camera import FLIP, TANGENTS
from disentangle3d.types import NUM_CONTOUR, NUM_LANDMARKS

# From here on detectors mark the far side's jaw on the silhouette.
SLIDING_YAW_RAD = np.deg2rad(15.0)
# Variances of delta so large that they say nothing: 1 a radian and a unit of
# log scale, 1e4 mm^2.
CAMERA_VARIANCE = np.array([1.0, 1.0, 1.0, 1.0, 1e4, 1e4])
# No step of a camera is longer, radians and log scale.
_LONGEST_STEP = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class PhotographedFaces:
  """M photos of faces with their present estimates.

  Attributes:
    landmarks: Pixels, `[M, 68, 2]`.
    visible: Landmarks that may be used, `[M, 68]`.
    subjects: A number for each person, `[M]`; photos of one stand together.
    scale: Of the cameras, `[M]`, px/mm.
    rotation: `[M, 3, 3]`.
    translation: `[M, 2]`, pixels.
    identity: alpha, `[M, I]`.
    expression: beta, `[M, E]`.
    trusted: Photos that count, `[M]`.
  """

  landmarks: Float[np.ndarray, "M 68 2"]
  visible: Bool[np.ndarray, "M 68"]
  subjects: Int[np.ndarray, "M"]
  scale: Float[np.ndarray, "M"]
  rotation: Float[np.ndarray, "M 3 3"]
  translation: Float[np.ndarray, "M 2"]
  identity: Float[np.ndarray, "M I"]
  expression: Float[np.ndarray, "M E"]
  trusted: Bool[np.ndarray, "M"]

  @property
  def yaw_rad(self) -> Float[np.ndarray, "M"]:
    """Positive has the nose to the image's right."""
    return np.arctan2(-self.rotation[:, 2, 0], self.rotation[:, 2, 2])

  def chosen(self, photos: np.ndarray | slice) -> "PhotographedFaces":
    """Some of the photos, by number, mask or range."""
    values = {
      field.name: getattr(self, field.name)[photos]
      for field in dataclasses.fields(self)
    }
    return PhotographedFaces(**values)


def fitted_faces(
  landmarks: Float[np.ndarray, "M 68 2"],
  visibility: Float[np.ndarray, "M 68"],
  subjects: Int[np.ndarray, "M"],
  fits: ImageFits,
) -> PhotographedFaces:
  """Photos with a landmark fit of each to start from; rejected: not trusted."""
  return PhotographedFaces(
    landmarks=landmarks.astype(np.float64),
    visible=visibility > 0,
    subjects=subjects,
    scale=np.asarray(fits.camera.scale, np.float64),
    rotation=np.asarray(fits.camera.rotation, np.float64),
    translation=np.asarray(fits.camera.translation, np.float64),
    identity=fits.identity_coefficients.astype(np.float64),
    expression=fits.expression_coefficients.astype(np.float64),
    trusted=~fits.rejected,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class LinearFaces:
  """What the module's equation has for n photos.

  Attributes:
    observed: `[n, 136]`, mm.
    axes: F R, `[n, 2, 3]`.
    identity: J_id, `[n, 136, I]`.
    expression: J_exp, `[n, 136, E]`.
    camera: J_cam, `[n, 136, 6]`.
    rotation: R, `[n, 3, 3]`: the cameras' without roll.
    roll: `[n, 3, 3]`; roll times R is the camera's rotation.
  """

  observed: Float[np.ndarray, "n 136"]
  axes: Float[np.ndarray, "n 2 3"]
  identity: Float[np.ndarray, "n 136 I"]
  expression: Float[np.ndarray, "n 136 E"]
  camera: Float[np.ndarray, "n 136 6"]
  rotation: Float[np.ndarray, "n 3 3"]
  roll: Float[np.ndarray, "n 3 3"]


def known_points(model: FitModel) -> Bool[np.ndarray, "68"]:
  """Landmarks that the model has."""
  return np.asarray(landmark_mask(model.model)) > 0


def turned_away(
  model: FitModel, faces: PhotographedFaces
) -> Bool[np.ndarray, "M 68"]:
  """Contour landmarks of the side turned away, beyond `SLIDING_YAW_RAD`."""
  side = np.sign(np.asarray(model.model.mean_shape)[:NUM_LANDMARKS, 0])
  side[NUM_CONTOUR:] = 0
  yaw = np.where(np.abs(faces.yaw_rad) > SLIDING_YAW_RAD, faces.yaw_rad, 0)
  return side[None] * yaw[:, None] > 0


def estimated_shapes(
  model: FitModel, faces: PhotographedFaces
) -> Float[np.ndarray, "M P 3"]:
  """All points of the model in each photo, mm."""
  small = model.model
  return (
    np.asarray(small.mean_shape)
    + np.tensordot(faces.identity, np.asarray(small.identity_basis), (1, 2))
    + np.tensordot(faces.expression, np.asarray(small.expression_basis), (1, 2))
  )


def sliding_points(
  model: FitModel,
  faces: PhotographedFaces,
  offset_mm: Float[np.ndarray, "68 3"],
) -> Int[np.ndarray, "M 68"]:
  """Which of the model's points carries each landmark in each photo.

  Args:
    model: Landmark l is its point l; contours are candidates, or None.
    faces: The photos.
    offset_mm: Of each landmark, `[68, 3]`; candidates move with theirs.

  Returns:
    Points, `[M, 68]`: beyond `SLIDING_YAW_RAD` a contour landmark of the side
    turned away is the candidate farthest out, any other its own.
  """
  found = np.tile(np.arange(NUM_LANDMARKS), (len(faces.scale), 1))
  if model.contour is None:
    return found
  curves = np.maximum(model.contour, 0)
  slides = turned_away(model, faces)[:, :NUM_CONTOUR]
  photos = np.flatnonzero(slides.any(1))
  turned = faces.chosen(photos)
  x, _, z = np.moveaxis(
    estimated_shapes(model, turned)[:, curves] + offset_mm[:NUM_CONTOUR, None],
    -1,
    0,
  )
  yaw = turned.yaw_rad[:, None, None]
  best = (np.sign(yaw) * (np.cos(yaw) * x + np.sin(yaw) * z)).argmax(2)
  found[photos, :NUM_CONTOUR] = np.where(
    slides[photos],
    curves[np.arange(NUM_CONTOUR), best],
    found[photos, :NUM_CONTOUR],
  )
  return found


def linearise(
  model: FitModel,
  faces: PhotographedFaces,
  points: Int[np.ndarray, "n 68"],
  offset_mm: Float[np.ndarray, "68 3"],
) -> LinearFaces:
  """The module's equation about the present estimates.

  Args:
    model: Its points.
    faces: n photos.
    points: Of `sliding_points`, `[n, 68]`.
    offset_mm: Where the cameras' changes are taken, `[68, 3]`.
  """
  small = model.model
  count = len(points)
  angle = np.arctan2(-faces.rotation[:, 0, 1], faces.rotation[:, 1, 1])
  roll = scipy.spatial.transform.Rotation.from_euler(
    "z", angle[:, None]
  ).as_matrix()
  upright = np.swapaxes(roll, 1, 2) @ faces.rotation
  axes = FLIP @ upright
  mean = np.asarray(small.mean_shape, np.float64)[points]
  away = faces.landmarks - faces.translation[:, None]
  # A turn by the roll where y points down.
  seen = (away / faces.scale[:, None, None]) @ roll[:, :2, :2].swapaxes(1, 2)
  identity = _projected(axes, points, np.asarray(small.identity_basis))
  expression = _projected(axes, points, np.asarray(small.expression_basis))
  observed = seen - mean @ axes.swapaxes(1, 2)
  here = np.take_along_axis(
    estimated_shapes(model, faces), points[..., None], 1
  )
  in_camera = (here + offset_mm) @ upright.swapaxes(1, 2)
  shift = np.broadcast_to(np.eye(2), (count, NUM_LANDMARKS, 2, 2))
  camera = np.concatenate(
    [np.einsum("kai,nli->nlak", TANGENTS, in_camera), shift], -1
  )
  return LinearFaces(
    observed=observed.reshape(count, -1),
    axes=axes,
    identity=identity,
    expression=expression,
    camera=camera.reshape(count, 2 * NUM_LANDMARKS, 6),
    rotation=upright,
    roll=roll,
  )


def _projected(
  axes: np.ndarray, points: np.ndarray, basis: np.ndarray
) -> np.ndarray:
  """F R of the modes at each photo's points, `[n, 136, C]`."""
  count, modes = len(points), basis.shape[-1]
  basis = basis.astype(np.float64)
  own = basis[:NUM_LANDMARKS].transpose(1, 0, 2).reshape(3, -1)
  # One product for the landmarks at their own points: all but a few are.
  found = (axes.reshape(-1, 3) @ own).reshape(count, 2, NUM_LANDMARKS, modes)
  found = np.ascontiguousarray(found.transpose(0, 2, 1, 3))
  photo, landmark = np.nonzero(points != np.arange(NUM_LANDMARKS))
  found[photo, landmark] = axes[photo] @ basis[points[photo, landmark]]
  return found.reshape(count, 2 * NUM_LANDMARKS, modes)


def moved_cameras(
  faces: PhotographedFaces, linear: LinearFaces, delta: Float[np.ndarray, "n 6"]
) -> dict[str, np.ndarray]:
  """Scale, rotation and translation of n photos after a change delta."""
  growth = np.clip(delta[:, 0], -_LONGEST_STEP, _LONGEST_STEP)
  length = np.linalg.norm(delta[:, 1:4], axis=1, keepdims=True)
  vector = delta[:, 1:4] * np.minimum(
    1.0, _LONGEST_STEP / np.maximum(length, 1e-12)
  )
  turn = scipy.spatial.transform.Rotation.from_rotvec(vector).as_matrix()
  shift = np.einsum("nba,nb->na", linear.roll[:, :2, :2], delta[:, 4:])
  return {
    "scale": faces.scale * np.exp(growth),
    "rotation": linear.roll @ turn @ linear.rotation,
    "translation": faces.translation + faces.scale[:, None] * shift,
  }
