"""A small random FaceXModel folder of the exact layout, for tests."""

import json
import pathlib

import numpy as np

from data_prep.models.landmark_lists import ICT_TRUE_JAWLINE
from disentangle3d.faces.procedural import procedural_face_model

NUM_VERTICES = 26_719
NUM_POLYGONS = 26_384
# The release's first 17 are replaced by the true jawline; some of the others
# lie outside the narrow face, some outside the full one.
LANDMARKS = [*range(17), *range(2_001, 2_099, 2), 8_000, 12_000]


def write_tree(folder: pathlib.Path, *, identities: int = 2) -> np.ndarray:
  """Writes neutral, identity and 53 expression meshes and the indices.

  Returns:
    The vertices, centimetres, `[1 + identities + 53, V, 3]`.
  """
  rng = np.random.default_rng(0)
  neutral = rng.normal(size=(NUM_VERTICES, 3)) * [6, 9, 3]
  # 1 and 2 mirror each other, 3 and 4, ...; vertex 0 is in the middle.
  neutral[2::2] = neutral[1::2] * [-1, 1, 1]
  neutral[0, 0] = 0
  face = procedural_face_model(
    num_vertices=500, identity_dim=1, expression_dim=1
  )
  for vertex, point in zip(
    [*ICT_TRUE_JAWLINE, *LANDMARKS[17:]],
    face.mean_shape[face.landmark_vertices] / 10,
    strict=True,
  ):
    # No point is its own mirror image, or another's.
    point = point + rng.uniform(0.05, 0.1, 3)
    neutral[vertex] = point
    neutral[vertex + 1 if vertex % 2 else vertex - 1] = point * [-1, 1, 1]
  neutral = neutral.round(5)
  first = rng.integers(1, NUM_VERTICES - 3, NUM_POLYGONS)
  faces = [
    f"f {v}/1 {v + 1}/2 {v + 2}/3" + (f" {v + 3}/4\n" if i >= 548 else "\n")
    for i, v in enumerate(first)
  ]
  names = ["eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthClose"]
  names += [f"shape{i:02d}" for i in range(4, 53)]
  meshes = [f"identity{i:03d}" for i in range(identities)] + names
  tail = "".join(["vt 0.5 0.5\n", "usemtl M_Face\n", *faces])
  lines = _vertex_lines(neutral)
  _write_obj(folder / "generic_neutral_mesh.obj", lines, tail)
  shapes = [neutral]
  for number, name in enumerate(meshes):
    moved = slice(20 * number, 20 * number + 30)
    shape = neutral.copy()
    shape[moved] = (neutral[moved] + rng.normal(size=(30, 3))).round(5)
    shapes.append(shape)
    new_lines = list(lines)
    new_lines[moved] = _vertex_lines(shape[moved])
    _write_obj(folder / f"{name}.obj", new_lines, tail)
  (folder / "vertex_indices.json").write_text(
    json.dumps({"expressions": names, "idx_to_landmark_verts": LANDMARKS})
  )
  return np.stack(shapes)


def _vertex_lines(vertices: np.ndarray) -> list[str]:
  return [f"v {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in vertices.tolist()]


def _write_obj(path: pathlib.Path, lines: list[str], tail: str) -> None:
  path.write_text("".join(["# A header\n", "mtllib a.mtl\n", *lines, tail]))
