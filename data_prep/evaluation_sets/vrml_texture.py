"""Colours of a VRML 2 scan, out of the picture that is its texture.

BU-3DFE's faces have one IndexedFaceSet with an ImageTexture, a
TextureCoordinate and a texCoordIndex beside the coordIndex. The scan's own
density is enough for a crop of 112 x 96, so a colour a vertex is all that is
kept.
"""

import os
import pathlib
import re

from jaxtyping import UInt8
import numpy as np

from data_prep.files.text_files import read_text
from data_prep.photos.photo_sets import read_photo
from disentangle3d.types import UserError, UserFileNotFoundError

_URL = re.compile(r'\bImageTexture\s*\{[^}"]*\burl\s*\[?\s*"([^"]*)"')
_TEXT_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|#[^\n]*')
_POINTS = re.compile(r"\bTextureCoordinate\s*\{\s*point\s*\[([^][]*)\]")
_TEXTURE_INDICES = re.compile(r"\btexCoordIndex\s*\[([^][]*)\]")
_INDICES = re.compile(r"\bcoordIndex\s*\[([^][]*)\]")


def read_vrml_colors(
  path: str | os.PathLike[str], num_vertices: int
) -> UInt8[np.ndarray, "V 3"] | None:
  """The colour of each vertex of a textured scan.

  Args:
    path: The `.wrl`; its texture is looked for beside it.
    num_vertices: As many as `read_vrml` found.

  Returns:
    RGB, `[V, 3]`, the last corner's where a vertex has several; None where
    the file has no texture, or several surfaces.

  Raises:
    UserFileNotFoundError: The picture it names is not there.
    UserError: Texture coordinates and triangles do not go together.
  """
  text = read_text(path)
  url = _URL.search(text)
  bare = _TEXT_OR_COMMENT.sub(" ", text)
  points, indices = _POINTS.findall(bare), _INDICES.findall(bare)
  if url is None or len(points) != 1 or len(indices) != 1:
    return None
  picture = pathlib.Path(path).parent / pathlib.PurePath(url[1]).name
  if not picture.is_file():
    raise UserFileNotFoundError(f"{picture}: no such file, {path} names it")
  flat = _numbers(points[0], np.float64, path)
  places = flat[: len(flat) // 2 * 2].reshape(-1, 2)
  corners = _numbers(indices[0], np.int64, path)
  named = _TEXTURE_INDICES.findall(bare)
  texture = _numbers(named[0], np.int64, path) if named else corners
  if len(corners) != len(texture):
    raise UserError(
      f"{path}: texCoordIndex: expected {len(corners)} indices, as many as"
      f" coordIndex has, got {len(texture)}"
    )
  kept = corners >= 0
  corners, texture = corners[kept], texture[kept]
  if (
    not corners.size
    or corners.max() >= num_vertices
    or not 0 <= texture.min() <= texture.max() < len(places)
  ):
    raise UserError(
      f"{path}: texCoordIndex: expected indices of {len(places)} texture"
      " coordinates, got others"
    )
  image = read_photo(picture)
  height, width = image.shape[:2]
  # (0, 0) is the picture's lower left corner.
  column = np.clip(places[:, 0] * width, 0, width - 1).astype(int)
  row = np.clip((1 - places[:, 1]) * height, 0, height - 1).astype(int)
  colors = np.full((num_vertices, 3), 128, np.uint8)
  colors[corners] = image[row, column][texture]
  return colors


def _numbers(
  text: str, dtype: type, path: str | os.PathLike[str]
) -> np.ndarray:
  words = text.replace(",", " ").split()
  try:
    return np.array(words, str).astype(dtype) if words else np.zeros(0, dtype)
  except (ValueError, OverflowError) as error:
    raise UserError(f"{path}: expected numbers, {error}") from error
