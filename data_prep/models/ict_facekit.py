"""Reads the ICT-FaceKit light release (FaceXModel) as a morphable model.

The release is a neutral mesh, 100 identity and 53 expression meshes (OBJ,
centimetres, y up, z forward, 26,719 vertices in the same order), and
`vertex_indices.json`. Here

- the identity basis is identity mesh - neutral, its weights being N(0, 1);
- the expression weights are in [0, 1] and have no statistics: modes come from
  random expressions, see `blendshape_modes`;
- landmarks are `idx_to_landmark_verts`, but for the jaw: the release's own
  points (Multi-PIE) lie on the cheek, up to 1 cm before the jawline which
  detectors report, so the published true-jawline vertices take their place;
- the origin has the height and depth of the mean of the neutral's 68 landmarks
  and lies on the plane of symmetry, whatever the region.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import json
import lzma
import pathlib
import re
import tarfile
import tempfile
import zlib

from jaxtyping import Float, Int
import numpy as np

from data_prep.models.assembly import mirror_map
from data_prep.models.blendshapes import blendshape_modes, movements_by_name
from data_prep.models.landmark_lists import ICT_TRUE_JAWLINE
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import (
  NUM_LANDMARKS,
  UserError,
  UserFileNotFoundError,
  check_choice,
)

# The release numbers its vertices from the face's middle outwards.
REGIONS = {"narrow": 6_706, "full": 9_409, "with_neck": 11_248}
_NUM_IDENTITIES = 100
NUM_EXPRESSIONS = 53
_NUM_VERTICES = 26_719
_NUM_POLYGONS = 26_384
_NEUTRAL = "generic_neutral_mesh.obj"
_INDICES = "vertex_indices.json"
_MM_PER_CM = 10.0
# mouthClose brings the lips of an open jaw together: 37 mm against the 29 mm by
# which jawOpen parts them. Without it, it would draw one through the other.
_TAKES_BACK = ("mouthClose", "jawOpen", 0.75)
# No name leads out of the folder.
_NAME = re.compile(r"\w+")


def read_ict_facekit(
  source: pathlib.Path,
  *,
  region: str = "full",
  identity_dim: int = _NUM_IDENTITIES,
  expression_dim: int = 29,
  seed: int = 0,
  on_mesh: Callable[[str], None] | None = None,
) -> MorphableModel:
  """Reads the release.

  Args:
    source: The folder FaceXModel, or the archive (.tar, .tar.xz) it came in.
    region: A key of `REGIONS`.
    identity_dim: How many identity modes, from the first; at most 100.
    expression_dim: How many expression modes; at most 53.
    seed: Of the random expressions that the modes come from.
    on_mesh: Called with each identity and expression mesh as it was read.

  Returns:
    The model, millimetres.

  Raises:
    UserFileNotFoundError: The source or a file in it is missing.
    UserError: An option is out of range, or a file is malformed; names it.
  """
  check_choice("region", region, REGIONS)
  for name, value, most in (
    ("identity_dim", identity_dim, _NUM_IDENTITIES),
    ("expression_dim", expression_dim, NUM_EXPRESSIONS),
  ):
    if not 1 <= value <= most:
      raise UserError(f"{name}: expected 1 to {most} modes, got {value}")
  with _opened(source) as folder:
    neutral = _read_vertices(folder / _NEUTRAL)
    polygons = _read_polygons(folder / _NEUTRAL)
    landmarks, expressions = _read_indices(folder / _INDICES)
    size = REGIONS[region]
    identities = [f"identity{i:03d}" for i in range(identity_dim)]
    offsets = np.empty((identity_dim + len(expressions), size, 3))
    for offset, name in zip(offsets, [*identities, *expressions], strict=True):
      offset[:] = (_read_vertices(folder / f"{name}.obj") - neutral)[:size]
      if on_mesh is not None:
        on_mesh(name)
  landmarks[:17] = ICT_TRUE_JAWLINE
  origin = neutral[landmarks].mean(0) * [0, 1, 1]
  mean = neutral[:size] - origin
  modes = blendshape_modes(
    offsets[identity_dim:],
    expression_dim,
    seed=seed,
    movements=movements_by_name(expressions),
    within=_within(expressions),
  )
  triangles = _triangulate(polygons, mean)
  return MorphableModel(
    mean_shape=mean.astype(np.float32),
    identity_basis=_as_basis(offsets[:identity_dim]),
    expression_basis=_as_basis(
      np.tensordot(modes.mixing.T, offsets[identity_dim:], 1)
    ),
    triangles=triangles,
    landmark_vertices=np.where(landmarks < size, landmarks, -1).astype(
      np.int32
    ),
    mirror_vertices=mirror_map(mean, triangles),
    expression_mixing=modes.mixing.astype(np.float32),
    expression_samples=modes.samples.astype(np.float32),
    source_vertices=np.arange(size, dtype=np.int32),
    name=f"ICT-FaceKit, {region} face",
    source=(
      f"ICT-FaceKit light release (FaceXModel), region {region}, identity"
      f" modes {identity_dim} of {_NUM_IDENTITIES}, {expression_dim} expression"
      f" modes of {NUM_EXPRESSIONS} blendshapes at random weights, seed {seed}"
    ),
    licence="MIT, (c) 2020 USC Institute for Creative Technologies",
  )


def _within(names: Sequence[str]) -> dict[int, tuple[int, float]]:
  back, other, most = _TAKES_BACK
  if not {back, other} <= set(names):
    return {}
  return {names.index(back): (names.index(other), most)}


def _as_basis(offsets: np.ndarray) -> np.ndarray:
  return np.moveaxis(offsets, 0, -1).astype(np.float32)


def _triangulate(
  polygons: Int[np.ndarray, "P 4"], vertices: Float[np.ndarray, "V 3"]
) -> Int[np.ndarray, "F 3"]:
  """Cuts quads along the shorter diagonal; keeps what is in the region.

  A triangle is a quad whose last index is -1. The release's order is counter-
  clockwise from outside.
  """
  polygons = polygons[polygons.max(1) < len(vertices)]
  triangles = polygons[polygons[:, 3] < 0][:, :3]
  a, b, c, d = polygons[polygons[:, 3] >= 0].T

  def squared_distance(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.sum((vertices[p] - vertices[q]) ** 2, -1)

  along_ac = squared_distance(a, c) <= squared_distance(b, d)
  first = np.where(along_ac[None], [a, b, c], [a, b, d])
  second = np.where(along_ac[None], [a, c, d], [b, c, d])
  cut = np.stack([first, second], 1).reshape(3, -1).T
  return np.concatenate([triangles, cut]).astype(np.int32)


@contextlib.contextmanager
def _opened(source: pathlib.Path) -> Iterator[pathlib.Path]:
  """The FaceXModel folder; of an archive, one that vanishes afterwards."""
  if not source.exists():
    raise UserFileNotFoundError(f"{source}: no such file or folder")
  if source.is_dir():
    yield source
    return
  with tempfile.TemporaryDirectory() as scratch:
    try:
      with tarfile.open(source) as archive:
        archive.extractall(scratch, filter="data")
    # tarfile reads whatever numbers a header has, and the file system says no.
    except (
      *(tarfile.TarError, lzma.LZMAError, zlib.error),
      *(EOFError, OSError, ValueError, OverflowError),
    ) as error:
      raise UserError(
        f"{source}: expected the folder FaceXModel or its .tar.xz, got a file"
        f" that cannot be unpacked ({_relative(error, scratch)})"
      ) from error
    try:
      yield pathlib.Path(scratch) / "FaceXModel"
    except (FileNotFoundError, ValueError) as error:
      message = f"{source}: {_relative(error, scratch)}"
      raise type(error)(message) from error


def _relative(error: Exception, scratch: str) -> str:
  """An error's first line, without the folder that nobody knows."""
  # In the others tarfile says what it is no file of.
  first = str(error).partition("\n")[0].rstrip(": ")
  return first.replace(f"{scratch}/", "")


def _read_file(path: pathlib.Path) -> bytes:
  if not path.is_file():
    raise UserFileNotFoundError(
      f"{path}: no such file, which the ICT-FaceKit release has"
    )
  return path.read_bytes()


def _lines(content: bytes, kind: bytes) -> list[bytes]:
  return [line for line in content.split(b"\n") if line.startswith(kind)]


def _read_vertices(path: pathlib.Path) -> Float[np.ndarray, "V 3"]:
  """All vertices of one OBJ file, millimetres."""
  lines = _lines(_read_file(path), b"v ")
  if len(lines) != _NUM_VERTICES:
    raise UserError(
      f"{path}: expected {_NUM_VERTICES} vertices, got {len(lines)}"
    )
  try:
    vertices = np.loadtxt(lines, usecols=(1, 2, 3), comments=None)
  except ValueError as error:
    raise UserError(
      f"{path}: expected three numbers a vertex, {error}"
    ) from error
  if not np.isfinite(vertices).all():
    raise UserError(f"{path}: expected finite vertices, got NaN or inf")
  return vertices * _MM_PER_CM


def _read_polygons(path: pathlib.Path) -> Int[np.ndarray, "P 4"]:
  """0-based vertex indices of triangles (the last -1) and quads."""
  lines = _lines(_read_file(path), b"f ")
  if len(lines) != _NUM_POLYGONS:
    raise UserError(
      f"{path}: expected {_NUM_POLYGONS} polygons, got {len(lines)}"
    )
  polygons = np.full((_NUM_POLYGONS, 4), -1)
  for row, line in zip(polygons, lines, strict=True):
    corners = line.split()[1:]
    try:
      indices = [int(corner.split(b"/")[0]) - 1 for corner in corners]
    except ValueError as error:
      raise UserError(
        f"{path}: expected whole numbers in {_shown(line)}"
      ) from error
    if len(corners) not in (3, 4) or not all(
      0 <= index < _NUM_VERTICES for index in indices
    ):
      raise UserError(
        f"{path}: expected 3 or 4 vertices from 1 to {_NUM_VERTICES} in a"
        f" polygon, got {_shown(line)}"
      )
    row[: len(indices)] = indices
  return polygons


def _shown(line: bytes) -> str:
  return repr(line[:60].decode("ascii", "replace"))


def _read_indices(
  path: pathlib.Path,
) -> tuple[Int[np.ndarray, "68"], list[str]]:
  """The landmark vertices and the names of the expression meshes."""
  try:
    content = json.loads(_read_file(path))
    landmarks = np.array(content["idx_to_landmark_verts"])
    expressions = list(content["expressions"])
  except (
    *(ValueError, KeyError, TypeError),
    *(OverflowError, RecursionError),
  ) as error:
    raise UserError(
      f"{path}: expected JSON with idx_to_landmark_verts and expressions, got"
      f" something else ({type(error).__name__}: {error})"
    ) from error
  valid = (
    landmarks.shape == (NUM_LANDMARKS,)
    and landmarks.dtype.kind == "i"
    and 0 <= landmarks.min() <= landmarks.max() < _NUM_VERTICES
  )
  if not valid:
    raise UserError(
      f"{path}: expected {NUM_LANDMARKS} vertex indices as"
      f" idx_to_landmark_verts, got {str(landmarks.tolist())[:60]}"
    )
  named = all(
    isinstance(name, str) and _NAME.fullmatch(name) for name in expressions
  )
  if not named or len(set(expressions)) != NUM_EXPRESSIONS:
    raise UserError(
      f"{path}: expected {NUM_EXPRESSIONS} names as expressions, got"
      f" {len(expressions)}"
    )
  return landmarks, expressions
