"""Mesh files: writes OBJ, PLY (binary) and GLB, reads OBJ and PLY.

In memory always millimetres, 0-based counter-clockwise triangles, y up,
colours as sRGB bytes. OBJ and PLY have no unit and hold the same numbers, and
viewers take their colours for sRGB. glTF prescribes metres and linear colours,
so a GLB holds positions times 0.001 (the factor that brings a face to its true
size in every viewer) and the light that the bytes stand for. Only this module
imports trimesh.
"""

from collections.abc import Callable, Iterator
import functools
import os
import pathlib
import warnings

import flax.struct
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from disentangle3d.faces.gltf import glb_bytes
from disentangle3d.input_files import existing_file
from disentangle3d.output_files import replace_file
from disentangle3d.types import UserError, check_array

_METRES_PER_MILLIMETRE = 0.001
_MOST_INDEX = (1 << 31) - 1


@flax.struct.dataclass
class Mesh:
  """A triangle mesh in host memory.

  Attributes:
    vertices: Positions in the file's order and unit, `[V, 3]` float32.
    triangles: 0-based vertex indices, `[F, 3]` int32.
    colors: RGB of each vertex, `[V, 3]` uint8, or None where the file has
      none.
    texture: Where each vertex is in the texture, `[V, 2]` float32, from 0 to 1
      to the right and upwards, NaN for a vertex of no triangle; None where the
      file has none, or several for one vertex.
  """

  vertices: Float[np.ndarray, "V 3"]
  triangles: Int[np.ndarray, "F 3"]
  colors: UInt8[np.ndarray, "V 3"] | None = None
  texture: Float[np.ndarray, "V 2"] | None = None


def write_mesh(
  path: str | os.PathLike[str],
  vertices: Float[Array | np.ndarray, "V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
  colors: UInt8[Array | np.ndarray, "V 3"] | None = None,
) -> None:
  """Writes one mesh; the suffix of `path` chooses the format.

  Args:
    path: Ends in `.obj`, `.ply` (binary, little-endian) or `.glb`; the folder
      must exist. The file appears by a rename at the end.
    vertices: Positions, `[V, 3]`, mm.
    triangles: 0-based vertex indices, `[F, 3]`.
    colors: RGB of each vertex, `[V, 3]` uint8; None writes none.

  Raises:
    UserError: The suffix is none of these, a shape differs, a triangle
      names a vertex that there is not, or a position is not finite.
    TypeError: A dtype differs.
  """
  path = pathlib.Path(path)
  export = _EXPORTS.get(path.suffix.lower())
  if export is None:
    raise UserError(
      f"{path}: expected a name that ends in {', '.join(_EXPORTS)}"
    )
  sizes = check_array("vertices", vertices, "V 3")
  check_array("triangles", triangles, "F 3", dtype="integer")
  if colors is not None:
    check_array("colors", colors, "V 3", dtype="uint8 or floating", sizes=sizes)
    if colors.dtype != np.uint8:
      raise TypeError(f"colors: expected a uint8 dtype, got {colors.dtype}")
  problem = _mesh_problem(np.asarray(vertices), np.asarray(triangles))
  if problem:
    raise UserError(problem)
  mesh = Mesh(
    np.asarray(vertices),
    np.asarray(triangles),
    None if colors is None else np.asarray(colors),
  )
  replace_file(path, export(mesh))


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
  """Reads an OBJ or a PLY file, its vertices as they are and in their order.

  Polygons are cut into triangle fans (in a binary PLY all must have equally
  many corners). Normals and materials are passed over, texture coordinates of
  a PLY as well.

  Args:
    path: Ends in `.obj` or `.ply`.

  Returns:
    The mesh; its unit is the file's own.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is not such a mesh; names file and problem.
  """
  path = pathlib.Path(path)
  read = _READERS.get(path.suffix.lower())
  if read is None:
    raise UserError(
      f"{path}: expected a name that ends in {', '.join(_READERS)}"
    )
  return _checked(read(existing_file(path)), path)


def parse_obj(content: bytes, name: str | os.PathLike[str]) -> Mesh:
  """The mesh in an OBJ file's bytes; as `read_mesh`.

  Args:
    content: Of the file.
    name: Of the file, for errors.

  Raises:
    UserError: The file is not such a mesh; names file and problem.
  """
  return _checked(_parse_obj(content, name), name)


def _checked(mesh: Mesh, name: str | os.PathLike[str]) -> Mesh:
  problem = _mesh_problem(mesh.vertices, mesh.triangles)
  if problem:
    raise UserError(f"{name}: {problem}")
  return mesh


def _mesh_problem(vertices: np.ndarray, triangles: np.ndarray) -> str | None:
  """What is wrong with the values of a mesh, in words."""
  if not len(vertices):
    return "vertices: expected at least one, got none"
  if not np.isfinite(vertices).all():
    return "vertices: expected finite numbers, got NaN or inf"
  if triangles.size:
    least, most = int(triangles.min()), int(triangles.max())
    if least < 0 or most >= len(vertices):
      return (
        f"triangles: expected indices from 0 to {len(vertices) - 1},"
        f" got {least} to {most}"
      )
  return None


def _obj_bytes(mesh: Mesh) -> bytes:
  rows = np.asarray(mesh.vertices, np.float64)
  if mesh.colors is not None:
    rows = np.concatenate([rows, mesh.colors / 255], 1)
  line = "v" + " %.8f" * rows.shape[1] + "\n"
  text = line * len(rows) % tuple(rows.reshape(-1).tolist())
  return text.encode() + _obj_triangles(
    np.ascontiguousarray(mesh.triangles, np.int64).tobytes()
  )


@functools.lru_cache(maxsize=2)
def _obj_triangles(indices: bytes) -> bytes:
  """The lines of triangles, which many faces have in common."""
  corners = (np.frombuffer(indices, np.int64) + 1).tolist()
  return ("f %d %d %d\n" * (len(corners) // 3) % tuple(corners)).encode()


def _ply_bytes(mesh: Mesh) -> bytes:
  names = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
  if mesh.colors is not None:
    names += [(name, "u1") for name in ("red", "green", "blue", "alpha")]
  rows = np.zeros(len(mesh.vertices), np.dtype(names))
  for axis, name in enumerate("xyz"):
    rows[name] = mesh.vertices[:, axis]
  if mesh.colors is not None:
    for axis, name in enumerate(("red", "green", "blue")):
      rows[name] = mesh.colors[:, axis]
    rows["alpha"] = 255
  faces = np.zeros(len(mesh.triangles), [("count", "u1"), ("at", "<i4", 3)])
  faces["count"], faces["at"] = 3, mesh.triangles
  types = {"<f4": "float", "u1": "uchar"}
  header = [
    "ply",
    "format binary_little_endian 1.0",
    f"element vertex {len(rows)}",
    *(f"property {types[kind]} {name}" for name, kind in names),
    f"element face {len(faces)}",
    "property list uchar int vertex_indices",
    "end_header\n",
  ]
  return "\n".join(header).encode() + rows.tobytes() + faces.tobytes()


def _glb_bytes(mesh: Mesh) -> bytes:
  if not len(mesh.triangles):
    raise UserError("triangles: expected at least one in a GLB, got none")
  metres = np.asarray(mesh.vertices, np.float64) * _METRES_PER_MILLIMETRE
  return glb_bytes(metres, mesh.triangles, colors=mesh.colors)


_EXPORTS: dict[str, Callable[[Mesh], bytes]] = {
  ".obj": _obj_bytes,
  ".ply": _ply_bytes,
  ".glb": _glb_bytes,
}


def _read_obj(path: pathlib.Path) -> Mesh:
  return _parse_obj(path.read_bytes(), path)


def _parse_obj(content: bytes, name: str | os.PathLike[str]) -> Mesh:
  # Not through trimesh: it skips lines that it does not understand, so a
  # damaged file would come back as another mesh.
  positions: list[list[float]] = []
  places: list[list[float]] = []
  triangles: list[list[tuple[int, int]]] = []
  try:
    text = content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise UserError(f"{name}: expected OBJ text, got binary data") from error
  for number, line in _obj_lines(text):
    words = line.split("#", 1)[0].split()
    try:
      if words and words[0] == "v":
        positions.append(_obj_position(words[1:]))
      elif words and words[0] == "vt":
        places.append([float(word) for word in words[1:3]])
      elif words and words[0] == "f":
        counts = len(positions), len(places)
        triangles += _fan([_obj_corner(word, *counts) for word in words[1:]])
    except ValueError as error:
      raise UserError(
        f"{name}, line {number}: {error}: {line[:60]!r}"
      ) from error
  if not positions:
    raise UserError(f"{name}: expected OBJ text with 'v' lines, got none")
  if len({len(position) for position in positions}) > 1:
    raise UserError(
      f"{name}: expected a colour on every 'v' line or on none, got a mixture"
    )
  table = np.array(positions, np.float64)
  colors = None
  if table.shape[1] == 6:
    colors = _color_bytes(table[:, 3:])
  with np.errstate(over="ignore"):  # what overflows is not finite
    vertices = table[:, :3].astype(np.float32)
  corners = np.array(triangles, np.int32).reshape(-1, 3, 2)
  return Mesh(
    vertices=vertices,
    triangles=np.ascontiguousarray(corners[..., 0]),
    colors=colors,
    texture=_obj_texture(places, corners, len(vertices)),
  )


def _obj_lines(text: str) -> Iterator[tuple[int, str]]:
  """Lines by number; one that ends in a backslash goes on in the next."""
  begun = ""
  for number, line in enumerate(text.splitlines(), 1):
    if line.endswith("\\"):
      begun += line[:-1] + " "
    else:
      yield number, begun + line
      begun = ""
  if begun:
    yield number, begun


def _obj_texture(
  places: list[list[float]], corners: np.ndarray, count: int
) -> np.ndarray | None:
  """Each vertex's place, where every corner has one and vertices one only."""
  known = (corners[..., 1] >= 0) & (corners[..., 1] < len(places))
  if {len(place) for place in places} != {2} or not known.all():
    return None
  table = np.array(places, np.float32)
  pairs = np.unique(corners.reshape(-1, 2), axis=0)
  texture = np.full((count, 2), np.nan, np.float32)
  texture[pairs[:, 0]] = table[pairs[:, 1]]
  again = texture[pairs[:, 0]]
  return texture if np.array_equal(again, table[pairs[:, 1]]) else None


def _obj_position(words: list[str]) -> list[float]:
  # x y z, with a weight w (4) or a colour r g b (6, 7 with alpha) after it.
  if len(words) not in (3, 4, 6, 7):
    raise UserError(f"expected 3 or 6 numbers after 'v', got {len(words)}")
  numbers = [float(word) for word in words]
  return numbers[:3] if len(words) == 4 else numbers[:6]


def _obj_corner(word: str, count: int, textured: int) -> tuple[int, int]:
  """The corner's vertex, and its place in the texture or -1."""
  vertex, _, rest = word.partition("/")
  place = rest.partition("/")[0]
  return _obj_index(vertex, count), _obj_index(place, textured) if place else -1


def _obj_index(word: str, count: int) -> int:
  index = int(word)
  if index == 0 or not -count <= index <= _MOST_INDEX:
    raise UserError(f"expected an index from 1, or from -{count}, got {index}")
  return index - 1 if index > 0 else count + index


def _fan(corners: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
  if len(corners) < 3:
    raise UserError(f"expected at least 3 corners, got {len(corners)}")
  return [
    [corners[0], b, c] for b, c in zip(corners[1:-1], corners[2:], strict=True)
  ]


def _read_ply(path: pathlib.Path) -> Mesh:
  # Those who write meshes need not wait for it.
  import trimesh

  try:
    with path.open("rb") as file, warnings.catch_warnings():
      # NumPy's warnings about a damaged file's numbers; the checks below say
      # it better.
      warnings.simplefilter("ignore", RuntimeWarning)
      content = trimesh.exchange.ply.load_ply(file, fix_texture=False)
    vertices = np.asarray(content["vertices"], np.float32)
    counts = _ply_counts(path)
    declared, polygons = counts["vertex"], counts.get("face", 0)
    triangles = np.zeros((0, 3), np.int32)
    if polygons and content.get("faces") is not None:
      triangles = trimesh.geometry.triangulate_quads(content["faces"])
  # trimesh raises whatever damaged bytes make it raise.
  except Exception as error:
    raise UserError(
      f"{path}: expected a PLY mesh, got a file that cannot be read as one"
      f" ({str(error) or type(error).__name__})"
    ) from error
  if vertices.shape != (declared, 3):
    raise UserError(
      f"{path}: expected {declared} vertices as the header says, got an array"
      f" {list(vertices.shape)}"
    )
  if len(triangles) < polygons:
    raise UserError(
      f"{path}: expected {polygons} polygons as the header says, got"
      f" {len(triangles)} triangles"
    )
  colors = content.get("vertex_colors")
  return Mesh(
    vertices=vertices,
    triangles=np.asarray(triangles).astype(np.int32).reshape(-1, 3),
    colors=None if colors is None else _color_bytes(np.asarray(colors)[:, :3]),
  )


def _color_bytes(colors: np.ndarray) -> UInt8[np.ndarray, "V 3"]:
  """Colours of 0 to 1, 255 or 65535, whichever type holds them, as bytes.

  Some scanners write 0 to 255 where a format has 0 to 1, or in wide integers.
  """
  peak = np.nanmax(colors, initial=0)
  most = 255 if peak <= 255 else 65535
  # Light may overshoot 1 a little.
  if colors.dtype.kind == "f" and peak < 2:
    most = 1
  share = np.nan_to_num(colors / most)
  return np.round(np.clip(share, 0, 1) * 255).astype(np.uint8)


def _ply_counts(path: pathlib.Path) -> dict[str, int]:
  """The header's own counts: trimesh forgets a face list that was cut off."""
  header = path.read_bytes().split(b"end_header", 1)[0].decode("latin-1")
  words = [line.split() for line in header.splitlines()]
  return {w[1]: int(w[2]) for w in words if w[:1] == ["element"]}


_READERS: dict[str, Callable[[pathlib.Path], Mesh]] = {
  ".obj": _read_obj,
  ".ply": _read_ply,
}
