"""GLB files: glTF 2.0 in one binary file, of one mesh that is seen as skin."""

import json
import os
import struct
from typing import Any

from jaxtyping import Float, Int, UInt8
import numpy as np

from disentangle3d.output_files import replace_file

# glTF's numbers for what a view of the buffer holds, and of types.
_VERTICES, _INDICES = 34962, 34963
_FLOAT, _UINT = 5126, 5125
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}
_GREY = [0.57, 0.57, 0.57, 1]
_UNLIT = "KHR_materials_unlit"
_JSON, _BINARY = 0x4E4F534A, 0x004E4942


def glb_bytes(
  positions: Float[np.ndarray, "V 3"],
  triangles: Int[np.ndarray, "F 3"],
  *,
  colors: UInt8[np.ndarray, "V 3"] | None = None,
  jpeg: bytes | None = None,
  places: Float[np.ndarray, "V 2"] | None = None,
) -> bytes:
  """A file of one mesh.

  Args:
    positions: `[V, 3]`, metres.
    triangles: At least one, `[F, 3]`.
    colors: sRGB of each vertex; None is grey, or the texture's.
    jpeg: A texture, with `places`.
    places: Where vertices are in it, from 0 to 1 to the right and down.
  """
  buffer = _Buffer()
  indices = np.asarray(triangles, "<u4").reshape(-1)
  attributes = {
    "POSITION": buffer.array(np.asarray(positions, "<f4"), bounds=True),
    # Without normals a viewer must shade every triangle flat.
    "NORMAL": buffer.array(_normals(positions, triangles).astype("<f4")),
  }
  look: dict[str, Any] = {"metallicFactor": 0, "roughnessFactor": 0.9}
  look["baseColorFactor"] = [1, 1, 1, 1]
  material: dict[str, Any] = {
    "name": "skin",
    "doubleSided": False,
    "pbrMetallicRoughness": look,
  }
  more: dict[str, Any] = {}
  if jpeg is not None and places is not None:
    attributes["TEXCOORD_0"] = buffer.array(np.asarray(places, "<f4"))
    look["baseColorTexture"] = {"index": 0}
    view = buffer.view(jpeg)
    # A photo has its own light and shade.
    material["extensions"] = {_UNLIT: {}}
    more = {
      "extensionsUsed": [_UNLIT],
      "images": [{"bufferView": view, "mimeType": "image/jpeg"}],
      "textures": [{"source": 0}],
    }
  elif colors is not None:
    linear = _linear_from_srgb(colors).astype("<f4")
    attributes["COLOR_0"] = buffer.array(linear)
  else:
    look["baseColorFactor"] = _GREY
  primitive = {
    "attributes": attributes,
    "indices": buffer.array(indices, target=_INDICES, bounds=True),
    "material": 0,
  }
  tree = {
    "asset": {"version": "2.0", "generator": "disentangle3d"},
    "scene": 0,
    "scenes": [{"nodes": [0]}],
    "nodes": [{"mesh": 0}],
    "meshes": [{"primitives": [primitive]}],
    # Without a material viewers show the bare metal that is glTF's default.
    "materials": [material],
    **more,
    **buffer.tree(),
  }
  text = json.dumps(tree, separators=(",", ":")).encode()
  chunks = _chunk(_JSON, text, b" ") + _chunk(_BINARY, buffer.content, b"\0")
  return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def write_skinned(
  path: str | os.PathLike[str],
  vertices: Float[np.ndarray, "V 3"],
  triangles: Int[np.ndarray, "F 3"],
  *,
  jpeg: bytes | None,
  places: Float[np.ndarray, "V 2"],
) -> None:
  """Writes a GLB whose colours are a picture's; without one it is grey.

  Args:
    path: The file.
    vertices: `[V, 3]`, mm; those of no triangle are left out.
    triangles: `[F, 3]`.
    jpeg: The picture.
    places: Where vertices are in it, from 0 to 1 to the right and down.
  """
  used, corners = np.unique(triangles, return_inverse=True)
  content = glb_bytes(
    np.asarray(vertices, np.float64)[used] / 1000,
    corners.reshape(-1, 3),
    jpeg=jpeg,
    places=places[used],
  )
  replace_file(path, content)


class _Buffer:
  """The binary part of a file, and what says where its arrays are."""

  def __init__(self) -> None:
    self.content = b""
    self._views: list[dict[str, int]] = []
    self._accessors: list[dict[str, Any]] = []

  def view(self, content: bytes, **about: int) -> int:
    """Adds bytes; the number of the view of them."""
    self.content += bytes(-len(self.content) % 4)
    start = len(self.content)
    place = {"buffer": 0, "byteOffset": start, "byteLength": len(content)}
    self.content += content
    self._views.append({**place, **about})
    return len(self._views) - 1

  def array(
    self, values: np.ndarray, *, target: int = _VERTICES, bounds: bool = False
  ) -> int:
    """Adds an array of rows or of numbers; the number of its accessor."""
    rows = values.reshape(len(values), -1)
    about: dict[str, Any] = {
      "bufferView": self.view(rows.tobytes(), target=target),
      "componentType": _FLOAT if values.dtype.kind == "f" else _UINT,
      "count": len(rows),
      "type": _TYPES[rows.shape[1]],
    }
    if bounds:
      about |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
    self._accessors.append(about)
    return len(self._accessors) - 1

  def tree(self) -> dict[str, Any]:
    """The JSON that describes it."""
    return {
      "buffers": [{"byteLength": len(self.content)}],
      "bufferViews": self._views,
      "accessors": self._accessors,
    }


def _chunk(kind: int, content: bytes, filler: bytes) -> bytes:
  content += filler * (-len(content) % 4)
  return struct.pack("<II", len(content), kind) + content


def _normals(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
  """Unit normals of the vertices, by the area of the triangles around each."""
  corners = np.asarray(positions, np.float64)[triangles]
  of_triangle = np.cross(
    corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
  )
  at, around = triangles.reshape(-1), np.repeat(of_triangle, 3, 0)
  normals = np.stack(
    [np.bincount(at, axis, minlength=len(positions)) for axis in around.T], -1
  )
  # What no triangle touches has no normal, and glTF wants unit length of all.
  normals[~normals.any(axis=1)] = [0, 0, 1]
  return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _linear_from_srgb(
  colors: UInt8[np.ndarray, "*shape"],
) -> Float[np.ndarray, "*shape"]:
  """The light that sRGB bytes stand for, 0 to 1 (IEC 61966-2-1)."""
  coded = np.arange(256) / 255
  light = np.where(
    coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4
  )
  return light[colors]
