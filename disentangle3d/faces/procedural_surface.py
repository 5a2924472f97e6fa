"""The analytic mean face: one smooth map from parameters to millimetres.

A point is named by its angle around the head (0 in the middle of the face,
pi/2 at the side) and its row (a height in mm: that of the surface on the
midline, down to the chin; below it the row runs on under the chin). Everything
is made for x >= 0; the other half is its mirror image. Heights, widths and
depths are those of anthropometric tables for adults, rounded.
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy

EYE = (31.0, 30.0)
INNER_CANTHUS = (16.5, 29.0)
OUTER_CANTHUS = (45.2, 31.5)
MOUTH_CORNER_X = 25.5
MOUTH_ROW = -40.0
TOP_ROW, CHIN_ROW, BOTTOM_ROW = 106.0, -84.0, -101.0
SIDE_ANGLE = 1.72

# Rows and, on the midline, height and depth of the head without nose and lips.
_ROWS = [
  *(-112, -100, -90, -84, -78, -70, -62, -54, -47, -40, -28, -18, 0, 15),
  *(33, 46, 60, 75, 90, 100, 108),
]
_HEIGHT = [-94, -92.5, -88.5, -84, *_ROWS[4:]]
_DEPTH = [
  *(50, 66, 79, 87, 92, 95, 96, 96.3, 96.8, 97.6, 99, 98.8, 96, 94),
  *(93, 94.3, 95.5, 93.5, 87.5, 80, 71),
]
# The side: half-widths, and how far rows rise on the way round to it.
_SIDE_ROWS = [-112, -100, -84, -70, -55, -40, -18, 0, 30, 50, 75, 95, 108]
_HALF_WIDTH = [28, 44, 58.0, 62.2, 64.8, 67.2, 69.8, 72, 74.5, 75, 73.5, 69, 63]
_RISE = [34, 37, 41, 33.5, 25.5, 17.5, 6.5, 1.2, 0, -2, -9, -19, -27]
_REACH_ROWS = [-112, -84, -50, 40, 55, 70, 82, 92, 100, 108]
_REACH = [0.93, 0.965, 1.0, 1.0, 0.985, 0.93, 0.85, 0.74, 0.6, 0.4]

# The nose over the head: height of its ridge and half-width by height.
_NOSE_Y = [-26, -21, -18, -15.5, -12, -8.5, -4.5, 2, 12, 22, 31, 36, 42]
_NOSE_HEIGHT = [0, 1.2, 4.5, 12, 18.6, 20.8, 20, 16.2, 10.6, 6, 3, 1.8, 0]
_NOSE_WIDTH = [9, 9, 9, 9.5, 10, 10, 9.8, 9.2, 8.6, 8.2, 8.6, 10, 12]


def smooth_step(x: np.ndarray) -> np.ndarray:
  """0 for x <= 0, 1 for x >= 1, twice differentiable in between."""
  x = np.clip(x, 0.0, 1.0)
  return x * x * x * (x * (6 * x - 15) + 10)


def bump(
  x: np.ndarray,
  y: np.ndarray,
  centre: tuple[float, float],
  size: tuple[float, float],
) -> np.ndarray:
  """A Gaussian of height 1 with standard deviations `size`, mm."""
  u = (x - centre[0]) / size[0]
  v = (y - centre[1]) / size[1]
  return np.exp(-0.5 * (u * u + v * v))


def upper_lid(x: np.ndarray) -> np.ndarray:
  """Height of the upper lid's rim at x >= 0, mm; canthal line outside."""
  c, tilt = _canthal(x)
  return (
    tilt + 5.9 * np.clip(1 - np.abs(c + 0.1 * (1 - c * c)) ** 2.3, 0, 1) ** 0.85
  )


def lower_lid(x: np.ndarray) -> np.ndarray:
  """Height of the lower lid's rim at x >= 0, mm; canthal line outside."""
  c, tilt = _canthal(x)
  return (
    tilt - 4.3 * np.clip(1 - np.abs(c - 0.14 * (1 - c * c)) ** 2.3, 0, 1) ** 0.9
  )


def lip_seam(x: np.ndarray) -> np.ndarray:
  """Height of the line where the lips part, mm."""
  u = np.minimum(np.abs(x) / MOUTH_CORNER_X, 1.3)
  return MOUTH_ROW + 0.9 * np.cos(2.1 * np.pi * u) * np.exp(-2 * u * u) - 0.3


def upper_lip_height(x: np.ndarray) -> np.ndarray:
  """From the seam up to the vermilion border, mm; 0 beyond the corners."""
  u = np.clip(np.abs(x) / MOUTH_CORNER_X, 0, 1)
  bow = 1.3 * np.exp(-(((np.abs(x) - 6) / 3.5) ** 2)) - 0.9 * np.exp(
    -((x / 2.8) ** 2)
  )
  return (7.2 * (1 - u**1.7) + bow * (1 - u)) * (1 - u**8)


def lower_lip_height(x: np.ndarray) -> np.ndarray:
  """From the seam down to the vermilion border, mm; 0 beyond the corners."""
  u = np.clip(np.abs(x) / MOUTH_CORNER_X, 0, 1)
  return 9.4 * (1 - u**2.2) ** 0.9


def surface(angle: np.ndarray, row: np.ndarray) -> np.ndarray:
  """Points of the mean face.

  Args:
    angle: Angles around the head at the mouth's and eyes' height, in
      [0, SIDE_ANGLE], `[P]`, rad; other rows reach less far round.
    row: Rows from BOTTOM_ROW to TOP_ROW, `[P]`, mm.

  Returns:
    Points, `[P, 3]`, mm, all at x >= 0.
  """
  angle = angle * _curve(_REACH_ROWS, _REACH)(row)
  width = _curve(_SIDE_ROWS, _HALF_WIDTH)
  row = _follow_features(width(row) * np.sin(angle), row, angle)
  x = width(row) * np.sin(angle)
  y = _height(row, angle)
  z = _curve(_ROWS, _DEPTH)(row) * np.cos(angle)
  outward = _bony_relief(x, y, z)
  x = x + outward * np.sin(angle)
  z = z + outward * np.cos(angle)
  front = smooth_step((z - 5) / 40)
  z = z + front * _soft_relief(x, y)
  z = _eye_relief(x, y, z)
  z = _nose_relief(x, y, z)
  z = z + front * _mouth_relief(x, y)
  return np.stack([x, y, z], -1)


def angle_at(x: float, row: float) -> float:
  """The angle at which a row of the eyes or the mouth is `x` mm wide."""
  width = float(_curve(_SIDE_ROWS, _HALF_WIDTH)(row))
  return float(np.arcsin(x / width))


def _curve(
  x: Sequence[float], y: Sequence[float]
) -> Callable[[np.ndarray | float], np.ndarray]:
  return scipy.interpolate.PchipInterpolator(
    np.asarray(x, float), np.asarray(y, float)
  )


def _canthal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Where x is between the eye's corners, -1 to 1; height of their line."""
  middle = 0.5 * (INNER_CANTHUS[0] + OUTER_CANTHUS[0])
  half = 0.5 * (OUTER_CANTHUS[0] - INNER_CANTHUS[0])
  c = np.clip((x - middle) / half, -1, 1)
  rise = 0.5 * (OUTER_CANTHUS[1] - INNER_CANTHUS[1])
  return c, 0.5 * (OUTER_CANTHUS[1] + INNER_CANTHUS[1]) + rise * c


def _height(row: np.ndarray, angle: np.ndarray) -> np.ndarray:
  rise = _curve(_SIDE_ROWS, _RISE)(row)
  return _curve(_ROWS, _HEIGHT)(row) + rise * (1 - np.cos(angle))


def _follow_features(
  x: np.ndarray, row: np.ndarray, angle: np.ndarray
) -> np.ndarray:
  """Bends rows so that some run along the lids and the lips."""
  c, line = _canthal(x)
  opening = (upper_lid(x) - lower_lid(x)) / 10.2
  off = row - EYE[1]
  beside = np.exp(-((np.maximum(np.abs(x - EYE[0]) - 14.3, 0) / 7) ** 2))
  window = beside * smooth_step((19 - np.abs(off)) / 14)
  squeeze = np.maximum(opening, 0.3) - 1
  row = row + window * (line - EYE[1] + 0.9 * squeeze * off)
  u = np.abs(x) / MOUTH_CORNER_X
  off = row - MOUTH_ROW
  rise = _curve(_SIDE_ROWS, _RISE)(row) * (1 - np.cos(angle))
  beside = np.exp(-((np.maximum(u - 1, 0) * MOUTH_CORNER_X / 9) ** 2))
  window = beside * smooth_step((21 - np.abs(off)) / 13)
  squeeze = np.maximum(1 - np.minimum(u, 1) ** 2.5, 0.35) - 1
  return row + window * (lip_seam(x) - MOUTH_ROW - rise + squeeze * off)


def _bony_relief(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
  """Cheekbone, temple and cheek hollow, outward, mm."""
  side = smooth_step((x - 30) / 20)
  return (
    4.2 * bump(x, y, (54, 9), (13, 10))
    - 3.4 * side * bump(z, y, (38, 46), (20, 13))
    - 0.8 * bump(x, y, (50, -24), (12, 15))
  )


def _soft_relief(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Brow, orbit, cheek, nasolabial fold, chin: along z, mm."""
  arch = 47 + 2.5 * np.sin(smooth_step((x - 2) / 54) * np.pi)
  brow = np.exp(-0.5 * ((y - arch) / 5.5) ** 2) * (
    np.exp(-0.5 * ((x - 26) / 15) ** 2)
  )
  orbit = np.exp(-((((x - 29.5) / 19) ** 2 + ((y - 31.5) / 14) ** 2) ** 1.3))
  # From the wing of the nose past the corner of the mouth.
  along = np.clip((-10 - y) / 34, 0, 1)
  fold = np.exp(-0.5 * ((x - (19 + 14 * along)) / 2.8) ** 2)
  fold = fold * smooth_step((-4 - y) / 10) * smooth_step((y + 50) / 14)
  return (
    2.0 * brow
    - 8.0 * orbit
    - 2.6 * bump(x, y, (0, 33), (14, 6.5))
    + 3.6 * bump(x, y, (33, 0), (14, 14))
    - 1.3 * fold
    - 1.0 * bump(x, y, (17, 17), (6, 4))
    + 1.6 * bump(x, y, (0, -71), (14, 8))
    - 1.2 * bump(x, y, (24, -60), (9, 9))
    - 3.4 * bump(x, y, (0, -55), (15, 4.6))
  )


def _eye_relief(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
  """Domes the lids over an eyeball and opens them onto it."""
  dx, dy = (x - EYE[0]) / 1.28, y - EYE[1]
  centre, ball, lid = 69.0, 12.2, 14.0
  radius = dx * dx + dy * dy
  dome = centre + lid - radius / (1.6 * lid)
  lids = _smooth_max(z, dome, 3.0)
  near = smooth_step((26 - np.hypot(x - EYE[0], dy)) / 10)
  z = z + near * (lids - z)
  over, under = y - upper_lid(x), lower_lid(x) - y
  c = (x - 30.85) / 14.35
  within = np.exp(-((c / 0.95) ** 8))
  crease = 0.35 + 4.6 * np.clip(1 - c * c, 0, 1) ** 0.6
  z = z - 1.5 * within * np.exp(-0.5 * ((over - crease) / 0.95) ** 2)
  z = z + 1.2 * within * np.exp(-0.5 * ((over - crease - 3.2) / 2.2) ** 2)
  z = z - 0.7 * within * np.exp(-0.5 * ((under - 5.6) / 1.5) ** 2)
  eyeball = centre + np.sqrt(np.maximum(ball**2 - radius, 4.0))
  open_here = smooth_step(0.5 - np.maximum(over, under) / 0.9)
  open_here = open_here * smooth_step((1 - np.abs(c)) / 0.1)
  sunk = np.maximum(z - eyeball, 0.5) * (1 - np.minimum(np.abs(c), 1) ** 5)
  return z - open_here * sunk


def _nose_relief(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
  """Ridge, tip, wings and nostrils."""
  y_in = np.clip(y, _NOSE_Y[0], _NOSE_Y[-1])
  height = _curve(_NOSE_Y, _NOSE_HEIGHT)(y_in)
  width = _curve(_NOSE_Y, _NOSE_WIDTH)(y_in)
  ridge = z + height * np.exp(-((np.abs(x) / width) ** 2.1))
  tip = 118.8 - (x / 6.4) ** 2 * 3.4 - ((y + 8.2) / 6.4) ** 2 * 3.6
  wing = 110 - ((x - 11.5) / 6) ** 2 * 8 - ((y + 11.2) / 6.4) ** 2 * 8
  nose = _smooth_max(_smooth_max(ridge, wing, 3.0), tip, 3.0)
  crease = np.exp(-0.5 * ((np.hypot(x - 11, (y + 11) * 0.95) - 8.6) / 1.2) ** 2)
  crease = crease * smooth_step((x - 13) / 4)
  nostril = bump(x, y, (6.9, -16.4), (2.6, 1.6))
  return nose - 1.3 * crease - 4.6 * nostril


def _mouth_relief(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Lips, the line where they part, philtrum, corners: along z, mm."""
  u = np.clip(np.abs(x) / MOUTH_CORNER_X, 0, 1)
  side = (1 - u**2.6) ** 0.8
  off = y - lip_seam(x)
  upper, lower = upper_lip_height(x), lower_lip_height(x)
  roll = 1 - np.exp(-np.abs(off) / 1.9)
  beyond_upper = np.maximum(off - upper, 0)
  beyond_lower = np.maximum(-off - lower, 0)
  above = 5.2 * roll * np.exp(-((beyond_upper / 7.5) ** 2))
  above = above - 1.5 * smooth_step(off / np.maximum(upper, 1.0))
  above = above + 1.5 * smooth_step(beyond_upper / 12)
  below = 5.6 * roll * np.exp(-((beyond_lower / 4.5) ** 2))
  below = below - 2.2 * smooth_step(-off / np.maximum(lower, 1.0) - 0.25)
  below = below + 2.2 * smooth_step(beyond_lower / 8)
  rim = 0.45 * np.exp(-(((off - upper) / 0.9) ** 2))
  shut = 0.6 * np.exp(-((off / 9) ** 2))
  lips = side * (np.where(off >= 0, above + rim, below) - shut)
  philtrum = smooth_step((y + 35) / 7) * smooth_step((-18 - y) / 7)
  philtrum = philtrum * (
    0.35 * np.exp(-(((np.abs(x) - 5.2) / 3.0) ** 2))
    - 0.75 * np.exp(-((x / 3.0) ** 2))
  )
  return lips + philtrum - 1.6 * bump(x, y, (27.0, -40.5), (2.6, 2.8))


def _smooth_max(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
  return 0.5 * (a + b + np.sqrt((a - b) ** 2 + radius * radius))
