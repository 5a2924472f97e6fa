"""Faces cut out of raw scans by the landmarks of their photographs.

The rule, and why, stands in docs/evaluation.md#york; its numbers are here. A
scan that fails is left out with the reason.
"""

import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np
import scipy
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_prep.evaluation_sets.york import PhotoScan
from disentangle3d.evaluation.scans import SEVEN_KEYPOINTS
from disentangle3d.evaluation.surfaces import (
  barycentric,
  closest_points,
  make_surface,
)
from disentangle3d.types import NOSE_TIP

LEAST_VERTICES = 1500
# Of a triangle; longer ones are spikes. The scans' own are a few mm.
LONGEST_SIDE_MM = 20.0
# How far brows are raised for the outline, in lengths of the nose (27 to 33).
FOREHEAD = 0.5
# Of the outline's area in the photograph, by the face.
LEAST_COVERED = 0.8
# How far beside the surface a landmark may be; how many of 17 to 67 must be on.
NEAR_PX = 2.0
LEAST_LIFTED = 46
# Between outer eye corners; of the nose tip before the plane of eyes and mouth.
EYES_MM = (70.0, 115.0)
NOSE_MM = (15.0, 60.0)
_BROWS, _INNER = slice(17, 27), slice(17, 68)
_NOSE_ROOT, _NOSE_BOTTOM = 27, 33
_FRAME = [36, 45, 48, 54]


class RejectedScanError(ValueError):
  """A scan that the rule leaves out; says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class CutScan:
  """A head out of a scan, and which of it is the face.

  Attributes:
    vertices: Of the head, `[V, 3]` float32, mm.
    triangles: `[F, 3]` int32.
    pixels: Where each vertex is in the photograph, `[V, 2]`.
    landmarks: Of the photograph, on the head, `[68, 3]`, NaN where it has no
      surface.
    inside: True for the face, `[V]`.
  """

  vertices: Float[np.ndarray, "V 3"]
  triangles: Int[np.ndarray, "F 3"]
  pixels: Float[np.ndarray, "V 2"]
  landmarks: Float[np.ndarray, "68 3"]
  inside: Bool[np.ndarray, "V"]


def cut_scan(
  scan: PhotoScan, landmarks_px: Float[np.ndarray, "68 2"]
) -> CutScan:
  """Cuts the face out of a scan by the rule above.

  Args:
    scan: As it is published.
    landmarks_px: Of its photograph, `[68, 2]`.

  Raises:
    RejectedScanError: The rule leaves it out.
  """
  if len(scan.vertices) < LEAST_VERTICES:
    raise RejectedScanError(f"fewer than {LEAST_VERTICES} vertices")
  outline = face_outline(landmarks_px)
  sides = scan.vertices[scan.triangles]
  lengths = np.linalg.norm(sides - np.roll(sides, 1, axis=1), axis=-1)
  within = _inside(outline, scan.pixels)
  head = largest_piece(
    scan.triangles[(lengths <= LONGEST_SIDE_MM).all(1)], within
  )
  face = largest_piece(head[within[head].all(1)], within)
  covered = _area(scan.pixels[face]).clip(0).sum() / outline.volume
  if covered < LEAST_COVERED:
    raise RejectedScanError(
      f"less than {100 * LEAST_COVERED:.0f} % of the outline covered"
    )
  landmarks = lift(scan, head, landmarks_px)
  _check_landmarks(landmarks)
  kept, triangles = np.unique(head, return_inverse=True)
  inside = np.zeros(len(scan.vertices), bool)
  inside[face] = True
  return CutScan(
    vertices=scan.vertices[kept],
    triangles=triangles.reshape(-1, 3).astype(np.int32),
    pixels=scan.pixels[kept],
    landmarks=landmarks,
    inside=inside[kept],
  )


def face_outline(
  landmarks_px: Float[np.ndarray, "68 2"],
) -> scipy.spatial.ConvexHull:
  """The hull of the landmarks and of the brows, raised for the forehead."""
  nose = landmarks_px[_NOSE_BOTTOM] - landmarks_px[_NOSE_ROOT]
  raised = landmarks_px[_BROWS] - FOREHEAD * nose
  return scipy.spatial.ConvexHull(np.concatenate([landmarks_px, raised]))


def largest_piece(
  triangles: Int[np.ndarray, "F 3"], counted: Bool[np.ndarray, "V"]
) -> Int[np.ndarray, "G 3"]:
  """The triangles of the connected piece with the most counted vertices."""
  ends = triangles[:, [0, 1, 1, 2]].reshape(-1, 2).T
  size = len(counted)
  graph = coo_array((np.ones(ends.shape[1]), tuple(ends)), (size, size))
  piece = connected_components(graph, directed=False)[1]
  used = np.unique(triangles)
  counts = np.bincount(piece[used], counted[used], minlength=1)
  return triangles[piece[triangles[:, 0]] == counts.argmax()]


def lift(
  scan: PhotoScan,
  triangles: Int[np.ndarray, "F 3"],
  points_px: Float[np.ndarray, "P 2"],
) -> Float[np.ndarray, "P 3"]:
  """Points of the photograph on the surface, NaN beyond `NEAR_PX` of it.

  Args:
    scan: With the vertices' pixels.
    triangles: The part of it to lift onto; those seen from behind are left out.
    points_px: `[P, 2]`.
  """
  front = triangles[_area(scan.pixels[triangles]) > 0]
  if not len(front):
    return np.full((len(points_px), 3), np.nan)
  flat = make_surface(_flat(scan.pixels), front)
  found = closest_points(flat, _flat(points_px))
  corners = front[found.triangle]
  weights = barycentric(found.point, flat.vertices[corners])
  lifted = np.sum(weights[..., None] * scan.vertices[corners], 1)
  return np.where(found.distance_mm[:, None] <= NEAR_PX, lifted, np.nan)


def _check_landmarks(landmarks: np.ndarray) -> None:
  on = np.isfinite(landmarks).all(1)
  if (
    on[_INNER].sum() < LEAST_LIFTED
    or not on[[*SEVEN_KEYPOINTS, NOSE_TIP]].all()
  ):
    raise RejectedScanError("landmarks off the surface")
  eyes = float(np.linalg.norm(landmarks[45] - landmarks[36]))
  frame = landmarks[_FRAME]
  normal = np.linalg.svd(frame - frame.mean(0))[2][2]
  nose = float((landmarks[NOSE_TIP] - frame.mean(0)) @ normal)
  nose *= 1 if normal[2] > 0 else -1
  for name, got, (low, high) in (
    ("distance of the eyes", eyes, EYES_MM),
    ("depth of the nose", nose, NOSE_MM),
  ):
    if not low <= got <= high:
      raise RejectedScanError(f"{name} beyond {low:.0f} to {high:.0f} mm")


def _inside(
  outline: scipy.spatial.ConvexHull, points: np.ndarray
) -> np.ndarray:
  sides = outline.equations
  return (points @ sides[:, :2].T + sides[:, 2] <= 0).all(1)


def _area(corners: np.ndarray) -> np.ndarray:
  """Of triangles in the photograph, positive where seen from the front."""
  first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
  # y is down: counter-clockwise comes out negative.
  return (first[:, 1] * second[:, 0] - first[:, 0] * second[:, 1]) / 2


def _flat(points: np.ndarray) -> np.ndarray:
  return np.pad(np.nan_to_num(points.astype(np.float64)), ((0, 0), (0, 1)))
