"""Which reader and which options each morphable model format has."""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np
import tqdm

from data_prep.models.basel_h5 import read_basel_h5
from data_prep.models.basel_mat import read_3ddfa, read_bfm2009
from data_prep.models.facescape import read_facescape
from data_prep.models.flame import read_flame
from data_prep.models.ict_facekit import NUM_EXPRESSIONS, read_ict_facekit
from data_prep.models.npz_arrays import read_npz_arrays
from data_prep.models.surrey import read_surrey
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.types import NUM_LANDMARKS, NUM_VERTICES, UserError


@dataclasses.dataclass(frozen=True)
class Format:
  """One format.

  Attributes:
    read: Takes the source and the options as keyword arguments.
    source: What the source is.
    options: The keyword arguments that the format has; each is a flag's name,
      but for `identity_dim` and `expression_dim`.
    required: Those without which nothing can be read.
    nearest_vertices: The crop that is usual with it, or 0.
  """

  read: Callable[..., MorphableModel]
  source: str
  options: tuple[str, ...] = ()
  required: tuple[str, ...] = ()
  nearest_vertices: int = 0


def _read_ict_facekit(
  source: pathlib.Path, *, landmarks: np.ndarray | None = None, **options: Any
) -> MorphableModel:
  total = options.get("identity_dim", 100) + NUM_EXPRESSIONS
  with contextlib.ExitStack() as stack:
    # With the first mesh: before, it may turn out that there is none.
    bar = functools.cache(
      lambda: stack.enter_context(
        tqdm.tqdm(total=total, desc="reading", unit="mesh", disable=None)
      )
    )
    model = read_ict_facekit(
      source, on_mesh=lambda _: bar().update(), **options
    )
  if landmarks is None:
    return model
  return dataclasses.replace(model, landmark_vertices=landmarks)


FORMATS = {
  "ict_facekit": Format(
    _read_ict_facekit,
    "the folder FaceXModel, or the .tar.xz that holds it",
    ("region", "identity_dim", "expression_dim", "seed"),
  ),
  "3ddfa": Format(
    read_3ddfa,
    "Model_Shape.mat",
    ("expression_source", "expression_std"),
    nearest_vertices=NUM_VERTICES,
  ),
  "bfm2009": Format(
    read_bfm2009,
    "01_MorphableModel.mat",
    ("expression_source", "expression_std", "trim_index"),
    required=("expression_source",),
  ),
  "bfm_h5": Format(
    read_basel_h5, "model2017-1_*.h5 or model2019_*.h5", ("expression_mean",)
  ),
  "surrey": Format(
    read_surrey,
    "sfm_shape_3448.bin or another of eos's models",
    ("expression_source", "expression_mean", "expression_dim", "seed"),
  ),
  "flame": Format(
    read_flame, "generic_model.pkl or flame2023.pkl", ("landmark_embedding",)
  ),
  "facescape": Format(
    read_facescape,
    "facescape_bm_v1.6_847_*_52_id*.npz",
    ("expression_dim", "seed"),
  ),
  "npz_arrays": Format(
    read_npz_arrays,
    "an .npz with the arrays that data_prep/models/npz_arrays.py lists",
    ("unit", "index_base", "expression_dim", "seed", "licence"),
  ),
}


def read_landmark_list(path: pathlib.Path) -> np.ndarray:
  """68 vertex indices, 0-based, -1 for none: numbers apart by blanks.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file holds something else; names it.
  """
  try:
    words = path.read_text("utf-8").replace(",", " ").split()
    vertices = np.array([int(word) for word in words], np.int32)
  except (ValueError, OverflowError) as error:
    raise UserError(f"{path}: expected whole numbers, {error}") from error
  if len(vertices) != NUM_LANDMARKS:
    raise UserError(
      f"{path}: expected {NUM_LANDMARKS} numbers, got {len(vertices)}"
    )
  return vertices
