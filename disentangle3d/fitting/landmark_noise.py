"""How far a detector's landmarks scatter about their places (host).

Maximum likelihood for a covariance a landmark and range of yaw, with offsets
fixed. Identity, shared by the photos of a person, expression and camera are
integrated out (`integrated_faces`): what they explain is not noise, and what
they explained of the noise is put back.
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
  PhotographedFaces,
  known_points,
  sliding_points,
)
from disentangle3d.fitting.options import (
  DEFAULT_CALIBRATION,
  CalibrationOptions,
)
from disentangle3d.types import LANDMARK_MIRROR, NUM_LANDMARKS

# The share of landmarks that counts in each round, where it ends (chi-square
# with 2 degrees of freedom), and what is left of the variance within.
_COUNTED = 0.99
_END = -2 * np.log(1 - _COUNTED)
_SHRINKAGE = 1 - _END * (1 - _COUNTED) / (2 * _COUNTED)
_LEAST_STD_MM = 0.1
_MIRROR_COVARIANCE = np.array([[1.0, -1.0], [-1.0, 1.0]])


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
    The 1 % that lies farthest off is left out, and the variance corrected for
    it; landmarks that the model has not get 1 mm^2.
  """
  used = faces.visible & known_points(model)
  edges = _filled_ranges(faces, options)
  covariance = np.zeros((len(edges) + 1, NUM_LANDMARKS, 2, 2))
  covariance[:] = options.working_std_mm**2 * np.eye(2)
  for _ in range(options.rounds):
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
    covariance = _more_likely(covariance, now, used, place, left)
    trusted = now.reasonable_photos(used)
    faces = dataclasses.replace(now.faces, trusted=trusted)
  return NoiseEstimate(
    covariance_mm2=np.where(
      known_points(model)[:, None, None], covariance, np.eye(2)
    ),
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
  mirrored = matrices[:, LANDMARK_MIRROR] * _MIRROR_COVARIANCE
  return np.where(left[:, None, None, None], mirrored, matrices)


def _more_likely(
  covariance: np.ndarray,
  now: IntegratedFaces,
  used: np.ndarray,
  place: np.ndarray,
  left: np.ndarray,
) -> np.ndarray:
  """The next covariances: where forces would have the spread that they have.

  At the maximum of the likelihood the forces C^-1 r scatter as C^-1 says. A
  fixed point of K E[f f^T] K = K E[C^-1] K, K a root of the covariance, moved
  to by what makes both sides equal if K alone changed.
  """
  counts = used & (now.distance < _END) & now.faces.trusted[:, None]
  counts = np.where(left[:, None], counts[:, LANDMARK_MIRROR], counts)
  seen = now.force[..., :, None] * now.force[..., None, :] / _SHRINKAGE
  seen, expected = _mirrored(seen, left), _mirrored(now.precision, left)
  found = np.empty_like(covariance)
  for number, present in enumerate(covariance):
    inside = counts * (place == number)[:, None]
    sums = [
      np.einsum("nl,nlab->lab", inside, matrices)
      for matrices in (seen, expected)
    ]
    if number == 0:
      # Nearly frontal faces look to both sides.
      sums = [
        total + total[LANDMARK_MIRROR] * _MIRROR_COVARIANCE for total in sums
      ]
    root = _root(present)
    seen_here, expected_here = (root @ total @ root for total in sums)
    unknown = np.trace(expected_here, axis1=1, axis2=2) == 0
    expected_here[unknown] = seen_here[unknown] = np.eye(2)
    change = _root(np.linalg.inv(expected_here))
    found[number] = root @ change @ seen_here @ change @ root
  values, vectors = np.linalg.eigh(found)
  values = np.maximum(values, _LEAST_STD_MM**2)
  return (vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2)


def _root(matrices: np.ndarray) -> np.ndarray:
  """Symmetric square roots of positive semidefinite matrices."""
  values, vectors = np.linalg.eigh(matrices)
  root = np.sqrt(np.maximum(values, 0.0))
  return (vectors * root[..., None, :]) @ vectors.swapaxes(-1, -2)
