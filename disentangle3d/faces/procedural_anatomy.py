"""Anatomical displacement fields of the procedural face.

Each function takes points of one half of the mean face (x >= 0) and gives one
displacement field a column, in mm at one standard deviation. `identity_fields`
are what people differ in; `expression_fields` are what muscles do.
"""

import numpy as np

from disentangle3d.faces import procedural_surface as face
from disentangle3d.faces.procedural_surface import bump, smooth_step

_HINGE_YZ = (5.0, 8.0)
# What one standard deviation is of the movements below.
_JAW_STRENGTH, _STRENGTH = 0.85, 0.62


def identity_fields(points: np.ndarray, parity: int) -> np.ndarray:
  """Width, length and depth of the face and of its parts.

  Args:
    points: Points at x >= 0, `[P, 3 or more]`, mm.
    parity: 1 for symmetric fields, -1 for left-right differences.

  Returns:
    Fields, `[P, 3, A]`, mm.
  """
  x, y, z = points[:, 0], points[:, 1], points[:, 2]
  side = np.stack([x / 75, np.zeros_like(y), z / 95], 1)
  jaw = smooth_step((-8 - y) / 50)
  brow_up = smooth_step((y - 38) / 60)
  eye = bump(x, y, face.EYE, (15, 12))
  mouth = bump(x, y, (0, -40), (20, 12))
  nose = bump(x, y, (0, -9), (11, 9))
  fields = [
    _along(0.022 * x, 0.022 * (y + 5), 0.022 * (z - 50)),
    _along(x=0.036 * x),
    _along(y=0.036 * (y + 5)),
    _along(z=0.034 * (z - 50)),
    _along(x=3.6 * jaw * x / 55),
    _along(y=-3.2 * smooth_step((-22 - y) / 55)),
    _along(z=2.6 * bump(x, y, (0, -74), (24, 20))),
    _along(z=2.3 * nose),
    _along(y=2.0 * nose, z=0.4 * nose),
    _along(x=1.7 * np.tanh(x / 7) * bump(x, y, (6, -11), (11, 9))),
    _along(z=1.9 * bump(x, y, (0, 17), (9, 15))),
    _along(x=1.5 * np.tanh(x / 9) * eye),
    _along(y=0.09 * (y - 30) * eye),
    _along(x=0.05 * (x - 31) * eye),
    _along(z=1.5 * eye),
    _along(y=0.05 * (x - 31) * eye),
    _along(z=1.5 * bump(x, y, (22, 48), (22, 8))),
    _along(y=1.6 * bump(x, y, (26, 48), (20, 8))),
    _along(y=0.13 * (y + 40) * mouth),
    _along(x=0.075 * x * bump(x, y, (0, -40), (26, 14))),
    _along(z=1.6 * mouth),
    _along(y=1.5 * bump(x, y, (0, -40), (30, 14))),
    2.4 * side * bump(x, y, (54, 8), (18, 15))[:, None],
    3.0 * side * bump(x, y, (46, -30), (18, 18))[:, None],
    2.2 * side * bump(x, y, (66, 50), (20, 20))[:, None],
    _along(y=2.2 * brow_up, z=-3.0 * brow_up),
    _along(z=2.4 * brow_up * bump(x, y, (0, 80), (50, 30))),
  ]
  stacked = np.stack(fields, -1)
  if parity > 0:
    return stacked
  return 0.22 * stacked[..., 4:] * np.tanh(x / 14)[:, None, None]


def expression_fields(
  points: np.ndarray, below_seam: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Jaw, lips, cheeks, brows and lids, the most telling first.

  The mouth is shut at rest, so a negative jaw coefficient can only slide the
  lower lip up behind the upper one.

  Args:
    points: Points at x >= 0, `[P, 3]`, mm.
    below_seam: -1 above the line where the lips part, 1 below, `[P]`.

  Returns:
    Fields `[P, 3, A]`, mm, and the parity of each, `[A]`.
  """
  x, y, z = points.T
  lower = lower_share(points, below_seam)
  odd = np.tanh(x / 9)[:, None]
  drop = 0.042 * lower
  jaw = _along(y=-drop * (z - _HINGE_YZ[1]), z=0.5 * drop * (y - _HINGE_YZ[0]))
  sideways = _along(x=1.9 * lower * smooth_step((z + 10) / 60))
  mouth_shift = _along(x=1.7 * bump(x, y, (0, -42), (20, 13)))
  smile, frown, stretch = _mouth_corners(x, y)
  pucker, raised, lowered, press, chin = _lips(x, y, lower)
  brows, furrow, inner = _brows(x, y)
  blink, squint = _lids(x, y)
  outward = np.stack([x / 75, np.zeros_like(y), z / 95], 1)
  puff = 3.4 * outward * bump(x, y, (40, -30), (13, 13))[:, None]
  wrinkle = _along(
    y=1.7 * bump(x, y, (12, -7), (9, 9)) - 0.8 * bump(x, y, (10, 45), (9, 8)),
    z=0.6 * bump(x, y, (14, 2), (7, 7)),
  )
  listed = [
    *((jaw, 1), (smile, 1), (brows, 1), (blink, 1), (pucker, 1)),
    *((raised, 1), (lowered, 1), (stretch, 1), (furrow, 1), (frown, 1)),
    *((puff, 1), (mouth_shift, -1), (0.5 * odd * smile, -1), (press, 1)),
    *((squint, 1), (sideways, -1), (0.6 * odd * brows, -1), (wrinkle, 1)),
    *((0.4 * odd * blink, -1), (inner, 1), (chin, 1)),
    *((0.5 * odd * raised, -1), (0.5 * odd * puff, -1)),
    *((0.5 * odd * frown, -1),),
  ]
  fields, parities = zip(*listed, strict=True)
  strength = np.array([_JAW_STRENGTH, *[_STRENGTH] * (len(fields) - 1)])
  return np.stack(fields, -1) * strength, np.array(parities)


def lower_share(points: np.ndarray, below_seam: np.ndarray) -> np.ndarray:
  """How far points go with the jaw: 0 to 1, parted only between the lips."""
  x, y = points[:, 0], points[:, 1]
  parted = np.sqrt(np.clip(1 - (x / face.MOUTH_CORNER_X) ** 2, 0, 1))
  band = 16 + 0.35 * np.maximum(x - face.MOUTH_CORNER_X, 0)
  away = smooth_step(0.5 + 0.5 * (face.lip_seam(x) - y) / band)
  beyond = 2 * away - 1
  return 0.5 + 0.5 * (parted * below_seam + (1 - parted) * beyond)


def _along(
  x: np.ndarray | None = None,
  y: np.ndarray | None = None,
  z: np.ndarray | None = None,
) -> np.ndarray:
  """A field `[P, 3]` of its components; None is 0."""
  known = [part for part in (x, y, z) if part is not None]
  zero = np.zeros_like(known[0])
  return np.stack([zero if part is None else part for part in (x, y, z)], 1)


def _mouth_corners(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
  """Smile, frown, stretch."""
  at = np.tanh(x / 9) * bump(x, y, (27, -39), (11, 9))
  cheek = bump(x, y, (38, -3), (13, 12))
  lips = bump(x, y, (0, -40), (20, 9))
  return [
    _along(2.9 * at, 2.7 * at + 1.5 * cheek, -1.6 * at + 1.2 * cheek - lips),
    _along(0.6 * at, -2.6 * bump(x, y, (28, -42), (10, 8))),
    _along(2.3 * at, z=-0.8 * at),
  ]


def _lips(x: np.ndarray, y: np.ndarray, lower: np.ndarray) -> list[np.ndarray]:
  """Pucker, upper lip raised, lower lip lowered, lips pressed, chin up."""
  around = bump(x, y, (0, -40), (19, 13))
  upper = (1 - lower) * bump(x, y, (0, -36), (15, 11))
  under = lower * bump(x, y, (0, -44), (15, 11))
  chin = bump(x, y, (0, -64), (14, 11))
  off = y - face.lip_seam(x)
  return [
    _along(x=-0.14 * x * around, z=3.2 * around),
    _along(y=2.1 * upper, z=0.7 * upper),
    _along(y=-2.2 * under, z=0.5 * under),
    _along(y=-0.13 * off * around, z=-1.3 * around),
    _along(y=1.6 * chin, z=1.2 * chin),
  ]


def _brows(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
  """Brows up, brows knit, inner brows up."""
  whole = bump(x, y, (26, 49), (20, 8))
  inner = bump(x, y, (13, 47), (9, 8))
  return [
    _along(y=3.1 * whole),
    _along(x=-1.6 * inner * np.tanh(x / 6), y=-2.0 * inner, z=0.8 * inner),
    _along(y=2.6 * inner),
  ]


def _lids(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
  """Upper lid down over the eyeball, lower lid up."""
  top, bottom = face.upper_lid(x), face.lower_lid(x)
  gap = np.maximum(top - bottom, 0)
  q = np.clip((y - bottom) / np.maximum(gap, 1e-3), 0, 1)
  above = 1 - smooth_step((y - top) / 8.5)
  below = 1 - smooth_step((bottom - y) / 9)
  closing = 0.3 * gap * np.where(y > top, above, q)
  rising = 0.11 * gap * np.where(y < bottom, below, 1 - q)
  return [
    _along(y=-closing, z=0.13 * closing),
    _along(y=rising, z=0.25 * rising),
  ]
