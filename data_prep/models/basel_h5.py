"""Reads the Basel Face Models 2017 and 2019 (HDF5 in Statismo's layout).

Millimetres, y up, z towards the viewer; `pcaBasis` has unit columns,
`pcaVariance` variances; cells are `[3, F]`, 0-based.

The expression model has a mean that is not zero: the mean of the training
expressions, up to 17 mm from the neutral face; see `modes_about_neutral`.
"""

from collections.abc import Mapping
import contextlib
import json
import math
import pathlib
from typing import Any

import h5py
from jaxtyping import Float, Int
import numpy as np
from scipy.spatial import KDTree

from data_prep.models.assembly import assemble_model
from data_prep.models.blendshapes import EXPRESSION_MEANS, modes_about_neutral
from data_prep.models.landmark_lists import (
  BASEL_LANDMARK_NAMES,
  landmarks_of_mesh,
)
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import NUM_LANDMARKS, UserError, check_choice

_RELEASES = {
  53_149: "BFM2017 (bfm)",
  28_588: "BFM2017 (face12)",
  47_439: "BFM2019 (bfm)",
  27_657: "BFM2019 (face12)",
  58_203: "BFM2019 (full head)",
}
_LICENCE = (
  "Basel Face Model licence (University of Basel): research only, not"
  " commercial, not to be passed on"
)
# Deflate makes at most 1,032 bytes of one.
_MOST_EXPANSION = 1_032
# A landmark's coordinates are those of a vertex, up to rounding.
_FARTHEST_LANDMARK_MM = 5.0


def read_basel_h5(
  source: pathlib.Path,
  *,
  expression_mean: str = "modes",
  landmarks: Int[np.ndarray, "68"] | None = None,
) -> MorphableModel:
  """Reads one `.h5` file.

  Args:
    source: `model2017-1_*.h5` or `model2019_*.h5`.
    expression_mean: Where the mean expression goes: `"modes"` or `"neutral"`.
    landmarks: 0-based vertices in place of eos's list (BFM2017) and of the
      12 named points in the file.

  Returns:
    The model.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is malformed; names it and the dataset.
  """
  check_choice("expression_mean", expression_mean, EXPRESSION_MEANS)
  size = source.stat().st_size
  try:
    with h5py.File(source, "r") as file:
      content = {
        key: _numbers(file, key, size)
        for part in ("shape", "expression")
        for key in (f"{part}/model/{n}" for n in _MODEL_KEYS)
      }
      cells = _numbers(file, "shape/representer/cells", size)
      named = _named_points(file, size) if landmarks is None else {}
  except _Wrong as error:
    raise UserError(f"{source}: {error}") from None
  # libhdf5's errors come through as any of these.
  except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"{source}: expected an HDF5 file, got one that cannot be read ({error})"
    ) from error
  where = str(source)
  mean = content["shape/model/mean"].reshape(-1).astype(np.float64)
  identity = _scaled(where, content, "shape")
  expression = _scaled(where, content, "expression")
  offset = content["expression/model/mean"].reshape(-1).astype(np.float64)
  if offset.size != mean.size or len(expression) != mean.size:
    raise UserError(
      f"{where}: expression/model/mean: expected {mean.size} numbers, as"
      f" shape/model/mean has, got {offset.size}"
    )
  if expression_mean == "neutral":
    mean = mean + offset
  else:
    expression = modes_about_neutral(expression, offset)
  origin = "given list"
  if landmarks is None:
    landmarks, origin = _landmarks(where, mean, named)
  vertices = mean.size // 3
  return assemble_model(
    where=where,
    unit_mm=1.0,
    mean=mean,
    identity=identity,
    expression=expression,
    triangles=cells.T if cells.ndim == 2 and len(cells) == 3 else cells,
    landmarks=landmarks,
    name=_RELEASES.get(vertices, "Basel Face Model"),
    source=(
      f"{source.name}; mean expression in the {expression_mean}; landmarks:"
      f" {origin}"
    ),
    licence=_LICENCE,
  )


_MODEL_KEYS = ("mean", "pcaBasis", "pcaVariance")


class _Wrong(Exception):
  """What we found wrong ourselves."""


def _dataset(file: h5py.File, key: str, size: int) -> h5py.Dataset:
  """A dataset of this very file: no link leads out of it."""
  node: Any = file
  for name in key.split("/"):
    link = node.get(name, getlink=True) if isinstance(node, h5py.Group) else 0
    if not isinstance(link, h5py.HardLink):
      raise _Wrong(f"{key}: expected a dataset, got none")
    node = node[name]
  if not isinstance(node, h5py.Dataset):
    raise _Wrong(f"{key}: expected a dataset, got a group")
  if node.is_virtual or node.external:
    raise _Wrong(f"{key}: expected its data in the file, got a reference")
  bytes_ = math.prod(node.shape or ()) * node.dtype.itemsize
  if bytes_ > _MOST_EXPANSION * size:
    raise _Wrong(
      f"{key}: expected a size that fits in a file of {size} bytes, got"
      f" {list(node.shape)}"
    )
  return node


def _numbers(file: h5py.File, key: str, size: int) -> np.ndarray:
  dataset = _dataset(file, key, size)
  if dataset.dtype.kind not in "iuf":
    raise _Wrong(f"{key}: expected numbers, got {dataset.dtype}")
  array = np.asarray(dataset[()])
  if not np.isfinite(array).all():
    raise _Wrong(f"{key}: expected finite numbers, got NaN or inf")
  return array


def _named_points(file: h5py.File, size: int) -> dict[str, Any]:
  """The landmarks' coordinates by name; a list of entries, or a dict."""
  key = "metadata/landmarks/json"
  raw = _dataset(file, key, size)[()]
  if isinstance(raw, np.ndarray):
    raw = raw.reshape(-1)[0] if raw.dtype.hasobject else raw.tobytes()
  try:
    text = raw.decode("utf-8") if isinstance(raw, bytes) else str(raw)
    parsed = json.loads(text.rstrip("\0"))
    if isinstance(parsed, Mapping):
      return dict(parsed)
    return {entry["id"]: entry["coordinates"] for entry in parsed}
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise _Wrong(
      f"{key}: expected JSON of names and coordinates, got something else"
      f" ({type(error).__name__}: {error})"
    ) from error


def _landmarks(
  where: str, mean: Float[np.ndarray, "V3"], named: dict[str, Any]
) -> tuple[Int[np.ndarray, "68"], str]:
  """A published list; else the vertices nearest the named points."""
  with contextlib.suppress(ValueError):
    return landmarks_of_mesh(where, mean.size // 3)
  known = [name for name in BASEL_LANDMARK_NAMES if name in named]
  try:
    points = np.array([named[name] for name in known], np.float64)
    distance, nearest = KDTree(mean.reshape(-1, 3)).query(
      points.reshape(len(known), 3)
    )
  except (ValueError, TypeError) as error:
    raise UserError(
      f"{where}: metadata/landmarks/json: expected 3 coordinates for a name,"
      f" got {error}"
    ) from error
  if not known or distance.max() > _FARTHEST_LANDMARK_MM:
    raise UserError(
      f"{where}: metadata/landmarks/json: expected points on the mean shape"
      f" named as {next(iter(BASEL_LANDMARK_NAMES))}, got {len(known)} such,"
      f" at most {distance.max(initial=0):.1f} mm away"
    )
  landmarks = np.full(NUM_LANDMARKS, -1, np.int32)
  # Two points on shut lips may share a vertex: the first has it.
  _, first = np.unique(nearest, return_index=True)
  numbers = np.array([BASEL_LANDMARK_NAMES[name] for name in known])
  landmarks[numbers[first]] = nearest[first]
  return landmarks, (
    f"{len(first)} named points, nearest vertices, at most"
    f" {distance.max():.2f} mm away"
  )


def _scaled(
  where: str, content: dict[str, np.ndarray], part: str
) -> Float[np.ndarray, "V3 C"]:
  """Unit modes times the root of their variances."""
  basis = content[f"{part}/model/pcaBasis"]
  variance = content[f"{part}/model/pcaVariance"].reshape(-1)
  if basis.ndim != 2 or basis.shape[1] != len(variance):
    raise UserError(
      f"{where}: {part}/model/pcaVariance: expected one for each column of"
      f" pcaBasis {list(basis.shape)}, got {len(variance)}"
    )
  norms = np.linalg.norm(basis.astype(np.float64), axis=0)
  if not (variance > 0).all() or not np.allclose(norms, 1, atol=0.01):
    raise UserError(
      f"{where}: {part}/model: expected unit columns as pcaBasis and positive"
      " variances, got others (Statismo's layout before 0.9?)"
    )
  return basis.astype(np.float64) * np.sqrt(variance.astype(np.float64))[None]
