"""Scans: meshes with landmarks, and the parts of a face that are measured."""

import dataclasses

from jaxtyping import Array, Bool, Float, Int
import numpy as np
import scipy

from disentangle3d.evaluation.surfaces import Surface, make_surface
from disentangle3d.types import NOSE_TIP, check_array

# Eye corners, nose bottom, mouth corners: NoW's landmarks, REALY's keypoints.
SEVEN_KEYPOINTS = (36, 39, 42, 45, 33, 48, 54)
_NOSE_BOTTOM = 33
_NOSE, _MOUTH = tuple(range(27, 36)), tuple(range(48, 68))
_FOREHEAD = (*range(17, 27), *range(36, 48))
_JAW = (*range(2, 7), *range(10, 15))
_OUTER_EYES, _MOUTH_CORNERS = (36, 45), (48, 54)


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
  """A mesh in millimetres with its iBUG landmarks; see `make_scan`.

  Attributes:
    surface: The mesh.
    landmarks: `[68, 3]` float64, NaN where there is none.
    outline: True for the vertices inside the face's outline in the photograph
      that was taken with it, `[V]`; None where that is not known.
  """

  surface: Surface
  landmarks: Float[np.ndarray, "68 3"]
  outline: Bool[np.ndarray, "V"] | None = None


def make_scan(
  vertices: Float[Array | np.ndarray, "V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
  landmarks: Float[Array | np.ndarray, "68 3"],
  *,
  outline: Bool[np.ndarray, "V"] | None = None,
) -> Scan:
  """Prepares a mesh to be compared.

  Args:
    vertices: `[V, 3]`, mm.
    triangles: `[F, 3]`.
    landmarks: `[68, 3]`, NaN where unknown.
    outline: See `Scan`.

  Returns:
    The scan.

  Raises:
    ValueError: A shape or a value is not as it should be.
    TypeError: A dtype differs.
  """
  sizes = check_array("vertices", vertices, "V 3")
  check_array("landmarks", landmarks, "68 3")
  if outline is not None:
    check_array("outline", outline, "V", dtype="any", sizes=sizes)
  return Scan(
    make_surface(vertices, triangles),
    np.asarray(landmarks, np.float64),
    outline,
  )


def scan_of(
  shape: Float[np.ndarray, "V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
  landmark_vertices: Int[np.ndarray, "68"],
) -> Scan:
  """A shape of a model as a scan, with the landmarks of its vertices."""
  landmarks = np.where(
    landmark_vertices[:, None] >= 0,
    np.asarray(shape, np.float64)[np.maximum(landmark_vertices, 0)],
    np.nan,
  )
  return make_scan(shape, triangles, landmarks)


def around_nose(truth: Scan, radius_mm: float) -> np.ndarray:
  """True within `radius_mm` of the nose tip; nowhere if there is none."""
  return _inside_sphere(truth, truth.landmarks[NOSE_TIP], radius_mm)


def within_outline(truth: Scan, radius_mm: float) -> np.ndarray:
  """True inside the face's outline in the photograph.

  Raises:
    ValueError: The scan has no outline.
  """
  del radius_mm  # The outline is all there is to it.
  if truth.outline is None:
    raise ValueError("truth: expected a scan with an outline, got one without")
  return truth.outline


def now_mask(truth: Scan, radius_mm: float) -> np.ndarray:
  """NoW's mask: a sphere whose place and size seven landmarks give."""
  del radius_mm  # NoW's own follows from the landmarks.
  outer_right, inner_right, inner_left, outer_left, bottom, _, _ = (
    truth.landmarks[list(SEVEN_KEYPOINTS)]
  )
  bridge = (inner_right + inner_left) / 2
  across = np.linalg.norm(outer_left - outer_right)
  radius = 0.7 * float(across + np.linalg.norm(bridge - bottom))
  return _inside_sphere(truth, bottom + 0.3 * (bridge - bottom), radius)


def facial_regions(
  truth: Scan, inside: Bool[np.ndarray, "V"]
) -> dict[str, Bool[np.ndarray, "V"]]:
  """Nose, mouth, forehead and cheek: by the nearest landmark group, `[V]`.

  Cheeks have no landmarks in iBUG-68: the jaw's and the points half-way from
  them to the nose's bottom stand for them; where the jaw is unknown, the points
  half-way from the eyes' outer corners to the mouth's.

  Raises:
    ValueError: A group has no landmark at all.
  """
  marks = truth.landmarks
  jaw = marks[list(_JAW)]
  cheek = np.concatenate([jaw, (jaw + marks[_NOSE_BOTTOM]) / 2])
  if not np.isfinite(cheek).all(1).any():
    cheek = (marks[list(_OUTER_EYES)] + marks[list(_MOUTH_CORNERS)]) / 2
  groups = {
    "nose": marks[list(_NOSE)],
    "mouth": marks[list(_MOUTH)],
    "forehead": marks[list(_FOREHEAD)],
    "cheek": cheek,
  }
  away = []
  for name, points in groups.items():
    known = points[np.isfinite(points).all(1)]
    if not len(known):
      raise ValueError(f"landmarks: expected some of the {name}, got none")
    tree = scipy.spatial.cKDTree(known)
    away.append(tree.query(truth.surface.vertices)[0])
  nearest = np.argmin(np.stack(away), 0)
  return {
    name: inside & (nearest == number) for number, name in enumerate(groups)
  }


def _inside_sphere(
  scan: Scan, centre: np.ndarray, radius_mm: float
) -> np.ndarray:
  away = np.linalg.norm(scan.surface.vertices - centre, axis=1)
  return away <= radius_mm
