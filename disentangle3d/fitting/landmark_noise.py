"""How far a detector's landmarks scatter about their places (host).

Expectation maximisation for a covariance a landmark and range of yaw, with
offsets fixed. Identity, shared by the photos of a person, expression and camera
are integrated out (`integrated_faces`): what they explain is not noise, and
what they explained of the noise is put back.

One round from a noise that is the same everywhere is what fits are best served
with. Errors of neighbouring landmarks go together, against what is assumed
here; more rounds take ever more of them for faces, which have modes enough, and
end at noises of half a millimetre that nothing is fitted well with.
"""

import dataclasses

from jaxtyping import Float
import numpy as np

from disentangle3d.faces.landmark_calibration import mirrored_covariance
from disentangle3d.fitting.batched_fitting import FitModel
from disentangle3d.fitting.integrated_faces import (
  IntegratedFaces,
  integrate_faces,
)
from disentangle3d.fitting.linear_faces import (
  PhotographedFaces,
  known_points,
  sliding_points,
)
from disentangle3d.fitting.options import (
  DEFAULT_CALIBRATION,
  CalibrationOptions,
)
from disentangle3d.types import LANDMARK_MIRROR, NUM_LANDMARKS


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseEstimate:
  """What `estimate_noise` found.

  Attributes:
    covariance_mm2: As `LandmarkCalibration` has it, `[Y, 68, 2, 2]`.
    yaw_edges_rad: `[Y - 1]`.
    faces: The photos with their estimates; those given up are not trusted.
  """

  covariance_mm2: Float[np.ndarray, "Y 68 2 2"]
  yaw_edges_rad: Float[np.ndarray, "edges"]
  faces: PhotographedFaces


def estimate_noise(
  model: FitModel,
  faces: PhotographedFaces,
  offset_mm: Float[np.ndarray, "68 3"],
  *,
  options: CalibrationOptions = DEFAULT_CALIBRATION,
) -> NoiseEstimate:
  """Estimates how far detections scatter about where offsets put them.

  Beyond `SLIDING_YAW_RAD` contour landmarks of the side turned away are
  compared with the candidate on the silhouette, as a fit does it.

  Args:
    model: From `fit_model`.
    faces: Photos with estimates; those not trusted do not count.
    offset_mm: From `estimate_offsets`.
    options: Ranges of yaw and rounds.

  Returns:
    Covariances by range of |yaw|, of faces that look to the image's right.
    Detections much too far off do not count. Landmarks that the model has not
    get 1 mm^2.
  """
  known = known_points(model)
  used = faces.visible & known
  edges = _filled_ranges(faces, options)
  covariance = np.zeros((len(edges) + 1, NUM_LANDMARKS, 2, 2))
  covariance[:] = options.noise_std_mm**2 * np.eye(2)
  for _ in range(options.noise_rounds):
    place = np.digitize(np.abs(faces.yaw_rad), edges)
    left = faces.yaw_rad < 0
    noise = _mirrored(covariance[place], left)
    now = integrate_faces(
      model,
      faces,
      sliding_points(model, faces, offset_mm),
      offset_mm,
      noise,
      used & faces.trusted[:, None],
      faces.subjects,
    )
    covariance = _expected(covariance, noise, now, used, place, left)
    trusted = now.reasonable_photos(used)
    faces = dataclasses.replace(now.faces, trusted=trusted)
  return NoiseEstimate(
    covariance_mm2=np.where(known[:, None, None], covariance, np.eye(2)),
    yaw_edges_rad=edges,
    faces=faces,
  )


def _filled_ranges(
  faces: PhotographedFaces, options: CalibrationOptions
) -> np.ndarray:
  """Edges of the ranges of |yaw| that have photos enough."""
  edges = np.deg2rad(np.asarray(options.yaw_edges_deg, np.float64))
  while len(edges):
    counts = np.bincount(
      np.digitize(np.abs(faces.yaw_rad[faces.trusted]), edges),
      minlength=len(edges) + 1,
    )
    few = np.flatnonzero(counts[1:] < options.least_photos)
    if not len(few):
      break
    edges = np.delete(edges, few[-1])
  return edges


def _mirrored(matrices: np.ndarray, left: np.ndarray) -> np.ndarray:
  """`[M, 68, 2, 2]` with the photos of faces turned to the left mirrored."""
  return np.where(
    left[:, None, None, None], mirrored_covariance(matrices), matrices
  )


def _expected(
  covariance: np.ndarray,
  noise: np.ndarray,
  now: IntegratedFaces,
  used: np.ndarray,
  place: np.ndarray,
  left: np.ndarray,
) -> np.ndarray:
  """The noise's expected squares under the present covariances, by range."""
  mean = np.einsum("nlab,nlb->nla", noise, now.force)
  squares = mean[..., :, None] * mean[..., None, :]
  squares += noise - noise @ now.precision @ noise
  counts = used & now.reasonable_landmarks(used) & now.faces.trusted[:, None]
  counts = np.where(left[:, None], counts[:, LANDMARK_MIRROR], counts)
  squares = _mirrored(squares, left)
  found = np.array(covariance)
  for number in range(len(covariance)):
    inside = (counts & (place == number)[:, None]).astype(np.float64)
    total = np.einsum("nl,nlab->lab", inside, squares)
    weight = inside.sum(0)
    if number == 0:
      # Nearly frontal faces look to both sides.
      total = total + mirrored_covariance(total)
      weight = weight + weight[LANDMARK_MIRROR]
    seen = weight > 0
    found[number, seen] = total[seen] / weight[seen, None, None]
  return found
