"""Reads FLAME (`generic_model.pkl`, `flame2023.pkl`, ...) without chumpy.

A pickle that Python 2 wrote: metres, y up, z towards the viewer, 5,023
vertices; `shapedirs` holds 300 identity modes, then 100 expression modes, in
standard deviations. The pose (jaw, neck, eyes) has no place in a linear model
and is left out: zero pose.
"""

import pathlib

from jaxtyping import Float, Int
import numpy as np

from data_prep.files.npy_files import read_npy_dict
from data_prep.files.pickled_arrays import as_array, read_pickled_objects
from data_prep.models.assembly import assemble_model, checked_indices
from data_prep.models.landmark_lists import landmarks_of_mesh
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import NUM_LANDMARKS, UserError

_UNIT_MM = 1e3
_NUM_EXPRESSIONS = 100
_JAW = 17
_LICENCE = (
  "FLAME's, of the version's download page (flame.is.tue.mpg.de); it is not in"
  " the file"
)


def read_flame(
  source: pathlib.Path,
  *,
  landmark_embedding: pathlib.Path | None = None,
  landmarks: Int[np.ndarray, "68"] | None = None,
) -> MorphableModel:
  """Reads one model.

  Args:
    source: The `.pkl`.
    landmark_embedding: `landmark_embedding.npy`: points on triangles, of which
      the nearest vertices are taken; 68 or, without the jaw, 51.
    landmarks: 0-based vertices in place of either list.

  Returns:
    The model.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: A file is malformed; names it and the key.
  """
  content = read_pickled_objects(source)
  missing = [k for k in ("v_template", "shapedirs", "f") if k not in content]
  if missing:
    raise UserError(
      f"{source}: expected the keys v_template, shapedirs and f, got a dict"
      f" without {', '.join(missing)}"
    )
  mean, modes, triangles = (
    as_array(content[key], f"{source}: {key}")
    for key in ("v_template", "shapedirs", "f")
  )
  numeric = all(a.dtype.kind in "iuf" for a in (mean, modes, triangles))
  fits = mean.ndim == 2 and modes.shape[:-1] == mean.shape == (len(mean), 3)
  if not numeric or not fits or modes.shape[-1] <= _NUM_EXPRESSIONS:
    raise UserError(
      f"{source}: shapedirs: expected {list(mean.shape)} as v_template, times"
      f" more than the {_NUM_EXPRESSIONS} expression modes, got"
      f" {list(modes.shape)}"
    )
  triangles = checked_indices(str(source), "f", triangles, len(mean))
  if landmarks is None and landmark_embedding is not None:
    landmarks, origin = _embedded(landmark_embedding, mean, triangles)
  else:
    landmarks, origin = landmarks_of_mesh(str(source), len(mean), landmarks)
  flat = modes.reshape(mean.size, -1)
  return assemble_model(
    where=str(source),
    unit_mm=_UNIT_MM,
    mean=mean.reshape(-1),
    identity=flat[:, :-_NUM_EXPRESSIONS],
    expression=flat[:, -_NUM_EXPRESSIONS:],
    triangles=triangles,
    landmarks=landmarks,
    name="FLAME",
    source=f"{source.name}, zero pose; landmarks: {origin}",
    licence=_LICENCE,
  )


def _embedded(
  path: pathlib.Path,
  mean: Float[np.ndarray, "V 3"],
  triangles: Int[np.ndarray, "F 3"],
) -> tuple[Int[np.ndarray, "68"], str]:
  """The vertices nearest the embedded points, and how far they are."""
  content = read_npy_dict(path)
  part = "full" if "full_lmk_faces_idx" in content else "static"
  keys = f"{part}_lmk_faces_idx", f"{part}_lmk_bary_coords"
  for key in keys:
    if key not in content:
      raise UserError(f"{path}: expected the key {key}, got a dict without")
  faces, weights = (as_array(content[key], f"{path}: {key}") for key in keys)
  faces, weights = faces.reshape(-1), weights.reshape(-1, weights.shape[-1])
  first = 0 if part == "full" else _JAW
  if len(faces) != NUM_LANDMARKS - first or weights.shape != (len(faces), 3):
    raise UserError(
      f"{path}: {keys[1]}: expected {NUM_LANDMARKS - first} points of 3 weights"
      f" each, got {len(faces)} and {list(weights.shape)}"
    )
  faces = checked_indices(str(path), keys[0], faces, len(triangles))
  corners = triangles[faces]
  points = np.einsum("lc,lcd->ld", weights, mean[corners])
  distance = np.linalg.norm(mean[corners] - points[:, None], axis=-1)
  landmarks = np.full(NUM_LANDMARKS, -1, np.int32)
  landmarks[first:] = corners[np.arange(len(faces)), distance.argmin(1)]
  away_mm = _UNIT_MM * distance.min(1)
  return landmarks, (
    f"{path.name}, nearest vertices, at most {away_mm.max():.2f} mm away; from"
    f" landmark {first} on, mm: {' '.join(f'{mm:.2f}' for mm in away_mm)}"
  )
