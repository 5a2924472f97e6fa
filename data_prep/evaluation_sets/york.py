"""The University of York's scans, with the photographs taken with them.

    00024/00024-08-mww28nnngy.obj   person, expression, who it is; millimetres
    00024/00024-08-mww28nnngy.jpg   the grey photograph

The OBJ's texture coordinates are places in the photograph, so each vertex is
known in both. Scans and photographs may lie in one folder, in two, or in
archives: `scans.tar.xz`, `photos.zip`. The scans' axes are the project's: x to
the right and y up in the photograph, z towards the camera.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
import re
from typing import cast

from absl import logging
from jaxtyping import Float, Int
import numpy as np

from data_prep.files.archives import TarArchive, ZipArchive
from data_prep.photos.listing import SUFFIXES, natural_key
from data_prep.photos.photo_sets import open_archive, read_encoded, read_photo
from disentangle3d.faces.meshes import parse_obj
from disentangle3d.input_files import existing_file, existing_folder
from disentangle3d.types import UserError, choose

EXPRESSIONS = {"08": "smiling", "10": "frowning"}
SPLITS = ("development", "test")
_NAME = re.compile(r"(\d{5})/\1-(08|10)-\w+")
_ARCHIVES = (".zip", ".tar", ".xz")
# To choose protocols and methods by; everybody else is to test on. Of the 121
# people's sorted numbers, numpy.random.default_rng(0).permutation's first 60.
_DEVELOPMENT = frozenset(
  """
  00026 00028 00030 00032 00034 00040
  00042 00044 00046 00050 00054 00056
  00062 00064 00068 00070 00074 00078
  00084 00092 00094 00096 00098 00104
  00110 00114 00126 00130 00132 00136
  00160 00164 00166 00168 00174 00176
  00180 00182 00196 00198 00200 00202
  00210 00214 00218 00220 00222 00226
  00230 00232 00236 00238 00240 00248
  00250 00254 00334 00346 00348 00354
  """.split()
)


@dataclasses.dataclass(frozen=True)
class YorkFiles:
  """One scan and its photograph.

  Attributes:
    person: Whose face it is, e.g. "00024".
    name: Of both, without a suffix: "00024/00024-08-mww28nnngy".
    expression: In `EXPRESSIONS`.
    mesh_path: The scan; in an archive `scans.tar.xz::00024/...obj`.
    photo_path: For `read_photo`.
  """

  person: str
  name: str
  expression: str
  mesh_path: pathlib.Path
  photo_path: pathlib.Path


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoScan:
  """A scan that knows its photograph.

  Attributes:
    vertices: `[V, 3]` float32, mm.
    triangles: `[F, 3]` int32.
    pixels: Where each vertex is in the photograph, `[V, 2]` float32: x right,
      y down, a pixel's centre at integer coordinates.
  """

  vertices: Float[np.ndarray, "V 3"]
  triangles: Int[np.ndarray, "F 3"]
  pixels: Float[np.ndarray, "V 2"]


def list_york(
  sources: Sequence[str | os.PathLike[str]], split: str = "test"
) -> list[YorkFiles]:
  """The scans of one of the two splits, by person and expression.

  Args:
    sources: Folders or archives, or a folder that has the two archives.
    split: "development" (60 people) or "test" (61).

  Raises:
    UserFileNotFoundError: A source is missing.
    UserError: The split is not known, there is no scan, or one has no
      photograph.
  """
  wanted = choose("split", split, {name: name for name in SPLITS})
  meshes: dict[str, pathlib.Path] = {}
  photos: dict[str, pathlib.Path] = {}
  for source in sources:
    for path in _members(pathlib.Path(os.path.abspath(source))):
      stem, suffix = os.path.splitext("/".join(path.parts[-2:]))
      name = stem.split("::")[-1]
      if suffix.lower() == ".obj":
        meshes[name] = path
      elif suffix.lower() in SUFFIXES:
        photos[name] = path
  listed = []
  for name in sorted(meshes, key=natural_key):
    if (parts := _NAME.fullmatch(name)) is None:
      continue
    if (parts[1] in _DEVELOPMENT) != (wanted == "development"):
      continue
    if name not in photos:
      logging.warning("%s: left out, it has no photograph", meshes[name])
      continue
    listed.append(
      YorkFiles(parts[1], name, parts[2], meshes[name], photos[name])
    )
  if not listed:
    raise UserError(
      f"{', '.join(map(str, sources))}: expected scans of the {split} people as"
      " 00024/00024-08-mww28nnngy.obj, found none"
    )
  return listed


def read_york(files: YorkFiles) -> PhotoScan:
  """Reads a scan.

  Raises:
    UserFileNotFoundError: A file is gone.
    UserError: A file is malformed, or the scan has no texture coordinates;
      names it.
  """
  mesh = parse_obj(read_encoded(files.mesh_path), files.mesh_path)
  if mesh.texture is None:
    raise UserError(
      f"{files.mesh_path}: expected one texture coordinate (vt) a vertex, got"
      " none or several"
    )
  height, width = read_photo(files.photo_path, most_megapixels=None).shape[:2]
  pixels = mesh.texture * [width, -height] + [-0.5, height - 0.5]
  return PhotoScan(mesh.vertices, mesh.triangles, pixels.astype(np.float32))


def _members(source: pathlib.Path) -> list[pathlib.Path]:
  """The files of a folder or an archive, and of the archives in a folder."""
  if source.suffix.lower() in _ARCHIVES:
    archive = cast(ZipArchive | TarArchive, open_archive(existing_file(source)))
    return [pathlib.Path(f"{source}::{name}") for name in archive.names()]
  existing_folder(source)
  archives = [
    one for one in source.iterdir() if one.suffix.lower() in _ARCHIVES
  ]
  found = [path for path in source.rglob("*.*") if path.is_file()]
  return found + [path for one in archives for path in _members(one)]
