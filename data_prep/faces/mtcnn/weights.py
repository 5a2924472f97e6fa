"""The trained MTCNN out of the package `mtcnn`, without running any of it.

The package's files are joblib dumps: an LZ4 frame around a pickle in which
the bytes of every array follow its description. They are read by their
tokens: nothing is imported, called or unpickled, any word that such a file
does not need is refused, and the shapes must be the networks'.
"""

from collections.abc import Mapping
import importlib.util
import io
import math
import pathlib
import pickletools
from typing import Any

import numpy as np

from data_prep.stages.extras import require
from disentangle3d.types import UserError, UserFileNotFoundError

LICENCES = {
  "MTCNN weights": (
    "MIT (package mtcnn, Iván de Paz Centeno), converted from the authors'"
    " Caffe models (MIT)"
  )
}
NETWORKS = ("pnet", "rnet", "onet")
# Names and shapes in the order of the files; kernels are HWIO.
_PNET = {
  "conv1": (3, 3, 3, 10),
  "conv2": (3, 3, 10, 16),
  "conv3": (3, 3, 16, 32),
  "box": (1, 1, 32, 4),
  "face": (1, 1, 32, 2),
}
_RNET = {
  "conv1": (3, 3, 3, 28),
  "conv2": (3, 3, 28, 48),
  "conv3": (2, 2, 48, 64),
  "dense": (576, 128),
  "box": (128, 4),
  "face": (128, 2),
}
_ONET = {
  "conv1": (3, 3, 3, 32),
  "conv2": (3, 3, 32, 64),
  "conv3": (3, 3, 64, 64),
  "conv4": (2, 2, 64, 128),
  "dense": (1152, 256),
  "box": (256, 4),
  "points": (256, 10),
  "face": (256, 2),
}
_LAYERS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
  "pnet": _PNET,
  "rnet": _RNET,
  "onet": _ONET,
}
_OUTPUTS = ("box", "face", "points")
# All that the pickle of a list of little-endian float32 arrays spells out.
_WORDS = {
  "joblib.numpy_pickle",
  "NumpyArrayWrapper",
  "numpy",
  "ndarray",
  "dtype",
  "f4",
  "<",
  "subclass",
  "shape",
  "order",
  "C",
  "allow_mmap",
  "numpy_array_alignment_bytes",
}
_MOST_BYTES = 16 << 20


def load_weights() -> dict[str, dict[str, np.ndarray]]:
  """The three networks' weights out of the installed package `mtcnn`.

  Returns:
    For each of `NETWORKS` its arrays by name: `conv1`, `conv1_bias`,
    `conv1_slope` (PReLU) and so on.

  Raises:
    UserModuleNotFoundError: The extra `detect` is not installed.
    UserFileNotFoundError: The package lacks a file of weights.
    UserError: A file holds something else; names file and problem.
  """
  require("detect", "to detect faces", "mtcnn", "lz4")
  package = importlib.util.find_spec("mtcnn")
  places = package.submodule_search_locations if package else None
  folders = [pathlib.Path(folder) for folder in places or ()]
  return {name: read_weights(_find(folders, name), name) for name in NETWORKS}


def read_weights(path: pathlib.Path, network: str) -> dict[str, np.ndarray]:
  """One network's weights out of its file.

  Args:
    path: E.g. pnet.lz4.
    network: One of `NETWORKS`.

  Returns:
    See `load_weights`.

  Raises:
    UserError: The file holds something else; names file and problem.
  """
  # The extra's, as dlib is: the library works without.
  import lz4.frame

  shapes = weight_shapes(network)
  try:
    decompressor = lz4.frame.LZ4FrameDecompressor()
    content = decompressor.decompress(path.read_bytes(), max_length=_MOST_BYTES)
    if not decompressor.eof:
      raise UserError(f"expected a whole LZ4 frame of at most {_MOST_BYTES} B")
  except (RuntimeError, EOFError, ValueError) as error:
    raise UserError(f"{path}: cannot be read as LZ4 ({error})") from error
  try:
    arrays = _parse_arrays(content, list(shapes.values()))
  except ValueError as error:
    raise UserError(f"{path}: {error}") from error
  return dict(zip(shapes, arrays, strict=True))


def weight_shapes(network: str) -> dict[str, tuple[int, ...]]:
  """Names and shapes of a network's arrays, in the order of its file."""
  shapes: dict[str, tuple[int, ...]] = {}
  for name, shape in _LAYERS[network].items():
    shapes[name] = shape
    shapes[f"{name}_bias"] = shape[-1:]
    if name not in _OUTPUTS:
      slope = shape[-1:] if len(shape) == 2 else (1, 1, shape[-1])
      shapes[f"{name}_slope"] = slope
  return shapes


def _parse_arrays(
  content: bytes, shapes: list[tuple[int, ...]]
) -> list[np.ndarray]:
  """The arrays of a joblib dump, which must have these shapes.

  `pickletools` only tokenises, and from where the file stands: after the
  token that ends an array's description, the file is moved past its bytes.
  """
  file = io.BytesIO(content)
  arrays: list[np.ndarray] = []
  remembered: list[Any] = []
  numbers: list[int] | None = None
  shape: tuple[int, ...] = ()
  before, value = "", None
  argument: Any
  for token, argument, position in pickletools.genops(file):
    if token.name == "MEMOIZE":
      remembered.append(value)
    value = argument
    if token.name == "BINGET" and argument < len(remembered):
      value = remembered[argument]
    if isinstance(value, str) and value not in _WORDS:
      raise UserError(
        f"expected arrays only, got the word {value[:40]!r} at byte {position}"
      )
    if value == "shape":
      numbers = []
    elif numbers is not None and "INT" in token.name:
      numbers.append(argument)
    elif numbers is not None and token.name.startswith("TUPLE"):
      shape, numbers = tuple(numbers), None
    elif token.name == "BUILD" and before == "SETITEMS":
      if shape not in shapes[len(arrays) : len(arrays) + 1]:
        raise UserError(
          f"array {len(arrays)}: expected shape"
          f" {(*shapes, 'none')[len(arrays)]}, got {shape}"
        )
      arrays.append(_read_array(file, shape))
    before = token.name
  if len(arrays) != len(shapes):
    raise UserError(f"expected {len(shapes)} arrays, got {len(arrays)}")
  return arrays


def _read_array(file: io.BytesIO, shape: tuple[int, ...]) -> np.ndarray:
  """The array whose bytes are next: a pad's length, the pad, the numbers."""
  start = file.tell()
  file.seek((file.read(1) or b"\0")[0], io.SEEK_CUR)
  size = 4 * math.prod(shape)
  numbers = file.read(size)
  if len(numbers) != size:
    raise UserError(f"expected {size} bytes of an array from byte {start}")
  array = np.frombuffer(numbers, "<f4").reshape(shape)
  if not np.isfinite(array).all():
    raise UserError(f"expected finite numbers in the array at byte {start}")
  return array


def _find(folders: list[pathlib.Path], network: str) -> pathlib.Path:
  name = f"assets/weights/{network}.lz4"
  for folder in folders:
    if (folder / name).is_file():
      return folder / name
  raise UserFileNotFoundError(
    f"{name}: not in the installed package mtcnn (1.0 or newer is needed);"
    " install it again"
  )
