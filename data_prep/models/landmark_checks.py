"""Whether the landmarks of a model can be those of a face in its conventions.

A wrong index base, a swapped axis, a wrong unit or another mesh's list shows
here, before anything is trained on it.
"""

import numpy as np

from disentangle3d.faces.morphable_model import (
  MorphableModel,
  validate_morphable_model,
)
from disentangle3d.types import LANDMARK_MIRROR, NOSE_TIP, UserError

# The distance of the outer eye corners: 86 to 92 mm in the models we know.
_EYES_MM = (70.0, 110.0)
_OUTER_EYES = (36, 45)
# A landmark's distance from the mirror image of its counterpart. Published
# lists are not symmetric along the jaw, nor are mean faces.
_MOST_ASYMMETRY_MM = 15.0
_NASION, _CHIN = 27, 8
# The landmarks on the image's left; LANDMARK_MIRROR has their counterparts.
_LEFT = np.array(
  [*range(8), *range(17, 22), 31, 32, *range(36, 42), *(48, 49, 50, 58, 59)]
  + [60, 61, 67]
)


def check_landmarks(model: MorphableModel) -> None:
  """Checks range, unit, axes, left-right order and symmetry on the mean shape.

  What a model has no landmarks for is not checked.

  Raises:
    UserError: Says which landmark, what was expected and what came.
  """
  validate_morphable_model(model)
  vertices = np.asarray(model.landmark_vertices)
  known = np.flatnonzero(vertices >= 0)
  values, counts = np.unique(vertices[known], return_counts=True)
  if (counts > 1).any():
    twice = values[counts > 1][0]
    raise UserError(
      f"landmark_vertices: expected distinct vertices, got {twice} for"
      f" landmarks {np.flatnonzero(vertices == twice).tolist()}"
    )
  points = np.asarray(model.mean_shape, np.float64)[vertices]
  points[vertices < 0] = np.nan
  _check_unit(points)
  left = _LEFT[
    np.isfinite(points[_LEFT] - points[LANDMARK_MIRROR[_LEFT]]).all(1)
  ]
  right = LANDMARK_MIRROR[left]
  apart = points[right, 0] - points[left, 0]
  _require(
    left[apart <= 0],
    "x to be smaller than that of its counterpart on the image's right",
  )
  for above, below, axis in ((_NASION, _CHIN, 1), (NOSE_TIP, 36, 2)):
    if not points[above, axis] - points[below, axis] >= 0:
      both = np.isfinite(points[[above, below]]).all()
      _require(
        np.array([above] if both else [], int),
        f"{'xyz'[axis]} to be greater than that of landmark {below}",
      )
  if left.size:
    middle = np.median(points[left, 0] + points[right, 0])
    mirrored = points[right] * [[-1, 1, 1]] + [[middle, 0, 0]]
    off = np.linalg.norm(points[left] - mirrored, axis=1)
    _require(
      left[off > _MOST_ASYMMETRY_MM],
      f"a place within {_MOST_ASYMMETRY_MM:g} mm of its counterpart's mirror"
      f" image ({off.max():.1f} mm at most)",
    )


def _check_unit(points: np.ndarray) -> None:
  distance = np.linalg.norm(points[_OUTER_EYES[0]] - points[_OUTER_EYES[1]])
  if np.isfinite(distance) and not _EYES_MM[0] <= distance <= _EYES_MM[1]:
    raise UserError(
      f"landmark_vertices: expected the outer eye corners {_EYES_MM[0]:g} to"
      f" {_EYES_MM[1]:g} mm apart, got {distance:.4g} mm (another unit, or"
      " another mesh's list?)"
    )


def _require(wrong: np.ndarray, expectation: str) -> None:
  if wrong.size:
    raise UserError(
      f"landmark_vertices: expected {expectation}, got another at landmarks"
      f" {wrong.tolist()} (another mesh's list, or swapped axes?)"
    )
