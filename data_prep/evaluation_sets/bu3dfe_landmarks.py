"""BU-3DFE's 83 landmarks as iBUG's 68, where both mean the same point.

The groups are those of menpo's `face_bu3dfe_83_to_face_bu3dfe_83`
(menpo/landmark/labels/human/face_3d.py): eyes 0-7 and 8-15, brows 16-25 and
26-35, sides of the nose 36-38 and 39-41, nostrils 42-47, outer mouth 48-59,
inner mouth 60-67, jaw 68-82. Which point of a group is a corner is told by
where it is, since a scan faces the scanner, y up: so it does not matter where
in a loop the numbers start or which way they run.

| iBUG | from |
|---|---|
| 8 | the lowest point of the jaw |
| 17, 21, 22, 26 | outer and inner ends of the brows |
| 30 | no landmark of BU-3DFE: the foremost vertex between eyes and mouth |
| 33 | no landmark of BU-3DFE: the vertex between the innermost nostril points |
| 36, 39, 42, 45 | outer and inner corners of the eyes |
| 48, 54, 51, 57 | corners and middles of the outer mouth |
| 60, 64, 62, 66 | corners and middles of the inner mouth |

The rest coincides with no landmark of iBUG's (eyelids have three points where
iBUG has two, the jaw 15 where it has 17) and is NaN.
"""

from jaxtyping import Float
import numpy as np

from data_prep.evaluation_sets.bnd import NUM_BND_LANDMARKS
from disentangle3d.types import NOSE_TIP, NUM_LANDMARKS, UserError, check_array

_EYES = slice(0, 8), slice(8, 16)
_BROWS = slice(16, 26), slice(26, 36)
_NOSTRILS = slice(42, 48)
_OUTER_MOUTH, _INNER_MOUTH, _JAW = slice(48, 60), slice(60, 68), slice(68, 83)
_CHIN, _NOSE_BOTTOM = 8, 33
# Left to right in the image: outer and inner ends, then inner and outer.
_EYE_ENDS = (36, 39), (42, 45)
_BROW_ENDS = (17, 21), (22, 26)
# Left and right corner, upper and lower middle.
_OUTER, _INNER = (48, 54, 51, 57), (60, 64, 62, 66)


def ibug_from_bu3dfe(
  points: Float[np.ndarray, "83 3"], vertices: Float[np.ndarray, "V 3"]
) -> Float[np.ndarray, "68 3"]:
  """The iBUG landmarks of a scan of BU-3DFE.

  Args:
    points: Its landmarks, `[83, 3]`, mm.
    vertices: Its mesh, `[V, 3]`, mm; x to the image's right, y up, z to the
      scanner.

  Returns:
    `[68, 3]` float64, mm; NaN where BU-3DFE has no such point.

  Raises:
    UserError: A shape differs, or no vertex lies between eyes and mouth.
    TypeError: A dtype differs.
  """
  check_array("points", points, f"{NUM_BND_LANDMARKS} 3")
  check_array("vertices", vertices, "V 3")
  marks = np.asarray(points, np.float64)
  mesh = np.asarray(vertices, np.float64)
  found = np.full((NUM_LANDMARKS, 3), np.nan)
  for groups, ends in ((_EYES, _EYE_ENDS), (_BROWS, _BROW_ENDS)):
    # The subject's right one is on the image's left.
    ordered = sorted((marks[group] for group in groups), key=_middle)
    for loop, (left, right) in zip(ordered, ends, strict=True):
      found[left], found[right] = _ends(loop)
  for group, (left, right, upper, lower) in (
    (_OUTER_MOUTH, _OUTER),
    (_INNER_MOUTH, _INNER),
  ):
    loop = marks[group]
    found[left], found[right] = _ends(loop)
    found[upper], found[lower] = _middles(loop)
  jaw = marks[_JAW]
  found[_CHIN] = jaw[np.argmin(jaw[:, 1])]
  found[NOSE_TIP] = _nose_tip(mesh, found)
  found[_NOSE_BOTTOM] = _nose_bottom(mesh, marks[_NOSTRILS])
  return found


def _middle(loop: np.ndarray) -> float:
  return float(loop[:, 0].mean())


def _ends(loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The leftmost and the rightmost point."""
  return loop[np.argmin(loop[:, 0])], loop[np.argmax(loop[:, 0])]


def _middles(loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The points half-way between the corners, on the upper and lower side.

  The numbers run around the loop, so the corners part it in two sides.
  """
  left, right = np.argmin(loop[:, 0]), np.argmax(loop[:, 0])
  middle = (loop[left, 0] + loop[right, 0]) / 2
  around = np.roll(loop, -left, axis=0)
  corner = (right - left) % len(loop)
  sides = sorted(
    (around[1:corner], around[corner + 1 :]),
    key=lambda side: -side[:, 1].mean(),
  )
  upper, lower = (
    side[np.argmin(np.abs(side[:, 0] - middle))] for side in sides
  )
  return upper, lower


def _nose_tip(mesh: np.ndarray, found: np.ndarray) -> np.ndarray:
  left, right = found[48], found[54]
  top, bottom = found[[39, 42], 1].mean(), found[51, 1]
  inside = (
    (mesh[:, 0] > left[0])
    & (mesh[:, 0] < right[0])
    & (mesh[:, 1] > bottom)
    & (mesh[:, 1] < top)
  )
  if not inside.any():
    raise UserError("vertices: expected some between eyes and mouth, got none")
  between = np.flatnonzero(inside)
  return mesh[between[np.argmax(mesh[between, 2])]]


def _nose_bottom(mesh: np.ndarray, nostrils: np.ndarray) -> np.ndarray:
  """On the mesh in the middle of the two innermost points of the nostrils."""
  centre = nostrils[:, 0].mean()
  inner = nostrils[np.argsort(np.abs(nostrils[:, 0] - centre))[:2]].mean(0)
  return mesh[np.argmin(((mesh - inner) ** 2).sum(1))]
