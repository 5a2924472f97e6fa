"""Where the 68 iBUG landmarks lie on the procedural face."""

import numpy as np
import scipy

from disentangle3d.faces import procedural_surface as face
from disentangle3d.faces.procedural_mesh import FaceMesh
from disentangle3d.types import LANDMARK_MIRROR

# (angle, row) along the jaw; (x, y) in mm seen from the front elsewhere.
_JAW = {
  8: (0.0, -83.0),
  9: (0.36, -82.0),
  10: (0.68, -81.0),
  11: (0.98, -80.0),
  12: (1.27, -78.0),
  13: (1.42, -50.0),
  14: (1.46, -14.0),
  15: (1.48, 9.0),
  16: (1.5, 28.0),
}
_FRONT = {
  22: (10.0, 46.5),
  23: (18.0, 49.5),
  24: (28.0, 51.0),
  25: (38.0, 49.5),
  26: (46.5, 45.5),
  27: (0.0, 31.0),
  28: (0.0, 20.0),
  29: (0.0, 8.0),
  30: (0.0, -6.5),
  33: (0.0, -19.5),
  34: (6.0, -19.0),
  35: (11.5, -17.0),
  42: face.INNER_CANTHUS,
  45: face.OUTER_CANTHUS,
  54: (face.MOUTH_CORNER_X, None),
}
_ON_CURVES = {
  face.upper_lid: {43: 25.8, 44: 36.0},
  face.lower_lid: {46: 36.0, 47: 25.8},
  lambda x: face.lip_seam(x) + face.upper_lip_height(x): {
    51: 0.0,
    52: 6.2,
    53: 15.5,
  },
  lambda x: face.lip_seam(x) - face.lower_lip_height(x): {
    55: 16.0,
    56: 7.8,
    57: 0.0,
  },
}
# Inner lips: landmarks on the upper and the lower seam, as x in mm.
_SEAM = ({62: 0.0, 63: 8.0, 64: 21.0}, {66: 0.0, 65: 8.0})


def place_landmarks(mesh: FaceMesh) -> np.ndarray:
  """The vertex of each landmark, `[68]` int32, all distinct.

  Left and right landmarks are mirror vertices; those of the midline lie on it.
  """
  found = _on_seam(mesh)
  found |= _on_surface(mesh, taken=list(found.values()))
  landmarks = np.full(68, -1, np.int32)
  for name, vertex in found.items():
    landmarks[name] = vertex
    landmarks[LANDMARK_MIRROR[name]] = mesh.mirror[vertex]
  return landmarks


def _on_seam(mesh: FaceMesh) -> dict[int, int]:
  """Inner lips: the nearest columns, each a step further than the last."""
  found = {}
  middle = mesh.seam.shape[1] // 2
  x = mesh.position[mesh.seam[0], 0]
  for line, targets in zip(mesh.seam, _SEAM, strict=True):
    for step, (name, target) in enumerate(targets.items()):
      last = 1 if name == 63 else 0
      column = int(np.argmin(np.abs(x - target)))
      column = min(max(column, middle + step), len(x) - 1 - last)
      found[name] = int(line[column])
  return found


def _on_surface(mesh: FaceMesh, taken: list[int]) -> dict[int, int]:
  """The others: the least sum of squared distances, no vertex twice."""
  front = dict(_FRONT)
  front[54] = (face.MOUTH_CORNER_X, float(face.lip_seam(np.array(25.5))))
  for curve, targets in _ON_CURVES.items():
    for name, x in targets.items():
      front[name] = (x, float(curve(np.array(x))))
  free = ~mesh.pocket & (mesh.position[:, 0] >= 0)
  free[mesh.seam.ravel()] = False
  free[taken] = False
  candidates = np.flatnonzero(free)
  p = mesh.position[candidates]
  on_midline = mesh.mirror[candidates] == candidates
  angle_row = np.array(list(_JAW.values()))
  jaw = face.surface(angle_row[:, 0], angle_row[:, 1])
  xy = np.array(list(front.values()))
  cost = np.concatenate(
    [
      np.sum((jaw[:, None] - p[None]) ** 2, -1),
      np.sum((xy[:, None] - p[None, :, :2]) ** 2, -1)
      + 1e4 * (p[None, :, 2] < 40),
    ]
  )
  target_x = np.concatenate([jaw[:, 0], xy[:, 0]])
  cost += 1e6 * ((target_x == 0)[:, None] != on_midline[None])
  rows, columns = scipy.optimize.linear_sum_assignment(cost)
  names = [*_JAW, *front]
  return {
    names[i]: int(candidates[j]) for i, j in zip(rows, columns, strict=True)
  }
