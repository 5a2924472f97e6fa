"""The vertices of the 68 iBUG landmarks on the published meshes, each sourced.

Lists by different authors disagree, mostly along the jaw and by a vertex or
two at nose and lips; `--landmarks` of `data_prep.convert_morphable_model` takes
another one, `--preview` draws what a model has.
"""

from typing import NamedTuple

from jaxtyping import Int
import numpy as np

from disentangle3d.types import NUM_LANDMARKS, UserError

# The inner face of BFM2009, numbered alike in its front crops: brows to lips.
_BFM_CROPS_NOSE_TO_LIPS = (
  *(8161, 8177, 8187, 8192, 6515, 7243, 8204, 9163, 9883),
  *(2215, 3886, 4920, 5828, 4801, 3640, 10455, 11353, 12383, 14066),
  *(12653, 11492, 5522, 6025, 7495, 8215, 8935, 10395, 10795, 9555),
  *(8836, 8236, 7636, 6915, 5909, 7384, 8223, 9064, 10537, 8829),
  *(8229, 7629),
)
_BFM_35709 = (
  *(16644, 16888, 16467, 16264, 32244, 32939, 33375, 33654, 33838),
  *(34022, 34312, 34766, 35472, 27816, 27608, 27208, 27440),
  *(28111, 28787, 29177, 29382, 29549, 30288, 30454, 30662, 31056, 31716),
  *_BFM_CROPS_NOSE_TO_LIPS,
)
_BFM_53215 = (
  *(21873, 22149, 21653, 21036, 43236, 44918, 46166, 47135, 47914),
  *(48695, 49667, 50924, 52613, 33678, 33005, 32469, 32709),
  *(38695, 39392, 39782, 39987, 40154, 40893, 41059, 41267, 41661, 42367),
  *_BFM_CROPS_NOSE_TO_LIPS,
)
_BFM_53490 = (
  *(22148, 22424, 21928, 21311, 43511, 45193, 46441, 47410, 48189),
  *(48970, 49942, 51199, 52888, 33953, 33280, 32744, 32984),
  *(38970, 39667, 40057, 40262, 40429, 41168, 41334, 41542, 41936, 42642),
  *(8290, 8306, 8316, 8321, 6525, 7300, 8333, 9364, 10137),
  *(2215, 3886, 4920, 5828, 4801, 3640, 10730, 11628, 12658, 14341),
  *(12928, 11767, 5522, 6025, 7570, 8344, 9118, 10669, 11070, 9792),
  *(9019, 8374, 7729, 6954, 5909, 7450, 8352, 9256, 10812, 9012),
  *(8367, 7722),
)
_FLAME_5023 = (
  *(2666, 1936, 3056, 3424, 3385, 3389, 3419, 3415, 3414),
  *(3634, 3643, 3587, 3581, 3652, 2004, 561, 1530),
  *(3159, 2566, 3153, 3154, 3788, 3912, 2135, 16, 17, 2140),
  *(3542, 3516, 3521, 3508, 2749, 2794, 3552, 1677, 1617),
  *(2437, 2381, 2494, 3632, 2278, 2334, 3833, 1343, 1216, 1175),
  *(958, 829, 2715, 2813, 2774, 3543, 1657, 1696, 1579, 1795),
  *(1865, 3503, 2948, 2898, 2845, 2784, 3533, 1667, 1730, 1789),
  *(3509, 2892),
)


def _numbered(vertices: dict[int, int]) -> tuple[int, ...]:
  """A list of which some numbers (from 1, as eos counts) are known."""
  return tuple(vertices.get(i + 1, -1) for i in range(NUM_LANDMARKS))


_BFM2017_53149 = _numbered(
  {
    **{9: 47846, 31: 8156, 37: 2602, 40: 5830, 43: 10390, 46: 13481},
    **{49: 5522, 50: 6026, 51: 7355, 52: 8181, 53: 9007, 54: 10329},
    **{55: 10857, 56: 9730, 57: 8670, 58: 8199, 59: 7726, 60: 6898},
    **{61: 6291, 62: 7364, 63: 8190, 64: 9016, 65: 10088, 66: 8663},
    **{67: 8191, 68: 7719},
  }
)
_SURREY_3448 = _numbered(
  {
    **{9: 33, 18: 225, 19: 229, 20: 233, 21: 2086, 22: 157, 23: 590},
    **{24: 2091, 25: 666, 26: 662, 27: 658, 28: 2842, 29: 379, 30: 272},
    **{31: 114, 32: 100, 33: 2794, 34: 270, 35: 2797, 36: 537, 37: 177},
    **{38: 172, 39: 191, 40: 181, 41: 173, 42: 174, 43: 614, 44: 624},
    **{45: 605, 46: 610, 47: 607, 48: 606, 49: 398, 50: 315, 51: 413},
    **{52: 329, 53: 825, 54: 736, 55: 812, 56: 841, 57: 693, 58: 411},
    **{59: 264, 60: 431, 62: 416, 63: 423, 64: 828, 66: 817, 67: 442},
    **{68: 404},
  }
)

# ICT-FaceKit's own list is in the release; these replace its first 17.
ICT_TRUE_JAWLINE = (
  *(1278, 1272, 12, 1834, 243, 781, 2199, 1447, 966),
  *(3661, 4390, 3022, 2484, 4036, 2253, 3490, 3496),
)

# Names of the landmarks in the metadata of BFM2017 and BFM2019.
BASEL_LANDMARK_NAMES = {
  "center.chin.tip": 8,
  "center.nose.tip": 30,
  "right.eye.corner_outer": 36,
  "right.eye.corner_inner": 39,
  "left.eye.corner_inner": 42,
  "left.eye.corner_outer": 45,
  "right.lips.corner": 48,
  "center.lips.upper.outer": 51,
  "left.lips.corner": 54,
  "center.lips.lower.outer": 57,
  "center.lips.upper.inner": 62,
  "center.lips.lower.inner": 66,
}


class LandmarkList(NamedTuple):
  """A published list.

  Attributes:
    vertices: 0-based vertex of each landmark, -1 where there is none.
    num_vertices: V of the mesh that it numbers.
    source: Who published it.
  """

  vertices: tuple[int, ...]
  num_vertices: int
  source: str


LANDMARK_LISTS = {
  "BFM2009": LandmarkList(
    _BFM_53490, 53_490, "3DDFA's keypoints taken to BFM2009 by trimIndex"
  ),
  "BFM2009 of 53,215 vertices": LandmarkList(
    _BFM_53215, 53_215, "keypoints of 3DDFA's Model_Shape.mat"
  ),
  "BFM2009 of 35,709 vertices": LandmarkList(
    _BFM_35709, 35_709, "keypoints of Deep3DFaceReconstruction"
  ),
  "BFM2017": LandmarkList(
    _BFM2017_53149, 53_149, "eos, ibug_to_bfm2017-1_bfm_nomouth.txt"
  ),
  "Surrey": LandmarkList(_SURREY_3448, 3_448, "eos, ibug_to_sfm.txt"),
  "FLAME": LandmarkList(
    _FLAME_5023, 5_023, "REALY's first 68 keypoints, nearest vertices"
  ),
}


def landmarks_of_mesh(
  where: str, num_vertices: int, given: Int[np.ndarray, "68"] | None = None
) -> tuple[Int[np.ndarray, "68"], str]:
  """The given list, else the published one, and where it comes from.

  Raises:
    UserError: None is given or known for a mesh of this size.
  """
  if given is not None:
    return given, "given list"
  for name, known in LANDMARK_LISTS.items():
    if known.num_vertices == num_vertices:
      return np.array(known.vertices, np.int32), f"{name}, {known.source}"
  sizes = ", ".join(
    f"{v.num_vertices} ({k})" for k, v in LANDMARK_LISTS.items()
  )
  raise UserError(
    f"{where}: expected a mesh of {sizes} vertices, for which landmarks are"
    f" known, got {num_vertices}; --landmarks takes a list"
  )
