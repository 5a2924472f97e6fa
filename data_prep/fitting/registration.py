"""The stage `register_scans`: coefficients from scans, not from landmarks.

What it writes is what `fit_faces` writes, so that a dataset is made of it in
the same way: its labels have depth, and no prior decides them.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import os
import pathlib

from absl import logging
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from data_prep.evaluation_sets.photo_scans import RejectedScanError, cut_scan
from data_prep.evaluation_sets.york import YorkFiles, list_york, read_york
from data_prep.fitting.fit_files import (
  MORPHABLE_MODEL,
  Fits,
  fits_path,
  no_fits,
  write_fits,
)
from data_prep.fitting.landmark_index import index_landmarks
from data_prep.fitting.shards import landmarks_in_crop
from data_prep.stages.engine import Progress, ShardWork
from data_prep.stages.folder import ALONE, StageFolder, digest, open_stage
from data_prep.stages.rows import (
  PhotoRow,
  read_rows,
  read_shard_rows,
  write_manifest,
)
from data_prep.stages.shard_loop import fill_shards, split_shards
from disentangle3d.evaluation.scan_projection import (
  ScanProjection,
  project_scan,
)
from disentangle3d.evaluation.scans import make_scan
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  closest_identity,
  landmark_points,
  save_morphable_model,
  synthesize_shape,
)
from disentangle3d.fitting.calibration_choice import (
  AUTO,
  calibrated_model,
  licences_of,
)
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.fitting.landmark_fitting import FACE_SIZE_MM
from disentangle3d.geometry import project
from disentangle3d.input_files import read_npz
from disentangle3d.output_files import replace_npz

STAGE = "register_scans"


def register_scans(
  sources: Sequence[str | os.PathLike[str]],
  aligned: pathlib.Path,
  model: MorphableModel,
  output: pathlib.Path,
  *,
  split: str = "development",
  people_a_shard: int = 8,
) -> dict[str, int]:
  """Lays a 3DMM over every scan of a split.

  Args:
    sources: Of the University of York's scans, see `list_york`.
    aligned: What align_faces made of the split's photographs.
    model: Whose coefficients are wanted.
    output: The folder to write, as fit_faces does; new, empty, or of an
      earlier run, which goes on.
    split: "development" or "test".
    people_a_shard: A kill loses the scans of so many at most.

  Returns:
    How many photos are ok, how many rejected for which reason.

  Raises:
    UserFileNotFoundError: A folder is missing.
    UserError: A file is malformed, or no scan is left; says why.
  """
  index = index_landmarks(aligned)
  model = calibrated_model(model, AUTO, detectors=index.detectors)
  listed = {files.name: files for files in list_york(sources, split)}
  rows = [row for row in read_rows(aligned) if _scan_name(row) in listed]
  if missing := sorted(set(listed) - {_scan_name(row) for row in rows}):
    logging.info(
      "%s: without %d of %d scans, e.g. %s: no row of theirs is there.",
      aligned,
      len(missing),
      len(listed),
      missing[0],
    )
  people = [
    list(own)
    for _, own in itertools.groupby(
      sorted(rows, key=_subject_of), key=_subject_of
    )
  ]
  shards = split_shards(len(people), people_a_shard)
  with open_stage(
    output,
    STAGE,
    num_shards=len(shards),
    settings={"split": split, "model": model.name},
    licences=index.licences | licences_of(model),
    inputs=digest([index.sha256.encode()]),
    stages_before=index.stages,
  ) as folder:
    if not folder.is_begun():
      save_morphable_model(output / MORPHABLE_MODEL, model)
    work = ShardWork(
      _MakeShard(folder, listed, model),
      part=lambda shard: [row for i in shards[shard] for row in people[i]],
    )
    counts = fill_shards(
      folder,
      ALONE,
      work,
      num_photos=len(rows),
      settle=lambda: _write_fits(folder, model),
    )
    return counts or {}


@dataclasses.dataclass(frozen=True, eq=False)
class _MakeShard:
  """Lays the model over the scans of some people's photos, `part`'s rows."""

  folder: StageFolder
  listed: Mapping[str, YorkFiles]
  model: MorphableModel

  def __call__(
    self, shard: int, part: Sequence[PhotoRow], progress: Progress
  ) -> None:
    rows = list(part)
    found: dict[str, np.ndarray] = {}
    for place, row in enumerate(rows):
      try:
        files = self.listed[_scan_name(row)]
        found[row.image_id] = _registered(row, files, self.model).coefficients
      except RejectedScanError as error:
        rows[place] = row.rejected(str(error))
      progress(1)
    path = self.folder.manifest(shard)
    replace_npz(_registrations_path(path), found)
    write_manifest(path, rows)


def _registrations_path(manifest: pathlib.Path) -> pathlib.Path:
  """Coefficients `[I + E]` by photo, beside a manifest shard."""
  name = manifest.name.replace("manifest-", "registrations-", 1)
  return manifest.with_name(name).with_suffix(".npz")


def _write_fits(folder: StageFolder, model: MorphableModel) -> None:
  """What all scans together say, shard by shard."""
  paths = [folder.manifest(shard) for shard in range(folder.num_shards)]
  parts = []
  for path in paths:
    found = read_npz(_registrations_path(path), "registrations of scans")
    rows = [row for row in read_shard_rows(path) if row.image_id in found]
    parts.append([(row, found[row.image_id]) for row in rows])
  fits = fits_of(list(itertools.chain(*parts)), model)
  ends = np.cumsum([len(part) for part in parts])
  for path, part, end in zip(paths, parts, ends, strict=True):
    own = slice(end - len(part), end)
    write_fits(
      fits_path(path),
      Fits(**{n: array[own] for n, array in vars(fits).items()}),
    )


def _subject_of(row: PhotoRow) -> str:
  return row.subject


def _scan_name(row: PhotoRow) -> str:
  return row.image_id.rsplit(".", 1)[0]


def _registered(
  row: PhotoRow, files: YorkFiles, model: MorphableModel
) -> ScanProjection:
  if row.status != "ok" or row.landmarks is None:
    raise RejectedScanError("no face found in the photograph")
  cut = cut_scan(read_york(files), row.landmarks)
  scan = make_scan(
    cut.vertices, cut.triangles, cut.landmarks, outline=cut.inside
  )
  bases = (model.identity_basis, model.expression_basis)
  return project_scan(
    np.asarray(model.mean_shape),
    np.concatenate([np.asarray(basis) for basis in bases], -1),
    np.asarray(model.triangles),
    np.asarray(model.landmark_vertices),
    scan,
  )


def fits_of(
  found: Sequence[tuple[PhotoRow, Float[np.ndarray, "IE"]]],
  model: MorphableModel,
) -> Fits:
  """Registrations as fits: a person's identity is the mean of their scans'.

  What a person's expressions have in common is taken for the person's face as
  far as expressions of different people differ by more than those of one
  person do: modes of expressions also meet what those of identity cannot.

  Args:
    found: Photos and the coefficients of what was laid over their scans.
    model: Whose coefficients these are.

  Returns:
    The fits; cameras are estimated by the photos' landmarks.
  """
  if not found:
    return no_fits(model)
  people = np.array([row.subject for row, _ in found])
  coefficients = np.stack([one for _, one in found])
  own, expression = np.split(coefficients, [model.identity_dim], axis=1)
  identity = np.stack([own[people == person].mean(0) for person in people])
  lasting = person_effects(expression, people)
  expression -= lasting
  identity += _as_identity(model, lasting)
  shape = synthesize_shape(
    model, identity.astype(np.float32), expression.astype(np.float32)
  )
  points = landmark_points(model, shape)
  marks = np.stack([landmarks_in_crop(row) for row, _ in found])
  seen = np.stack([np.asarray(row.visibility) for row, _ in found])
  seen = seen.astype(np.float32)
  camera = estimate_camera(points, jnp.asarray(marks), jnp.asarray(seen))
  rmse_px = _rmse(np.asarray(project(camera, points)) - marks, seen)
  return Fits(
    image_id=np.array([row.image_id for row, _ in found], np.str_),
    identity_coefficients=identity.astype(np.float32),
    expression_coefficients=expression.astype(np.float32),
    camera_scale=np.asarray(camera.scale),
    camera_rotation=np.asarray(camera.rotation),
    camera_translation=np.asarray(camera.translation),
    rmse_px=rmse_px,
    relative_error=rmse_px / (FACE_SIZE_MM * np.asarray(camera.scale)),
    outliers=np.zeros(len(found), np.float32),
  )


def person_effects(
  expression: Float[np.ndarray, "P E"], people: Sequence[str] | np.ndarray
) -> Float[np.ndarray, "P E"]:
  """The best linear predictions of what persons add to their expressions.

  A coefficient is everybody's mean, an effect of the person and one of the
  scan, with a variance each, estimated by moments over all coefficients
  together (analysis of variance; Henderson 1975, "Best Linear Unbiased
  Estimation and Prediction under a Selection Model").

  Args:
    expression: Coefficients, standard deviations.
    people: Whose each is, `[P]`.

  Returns:
    The person's effect, `[P, E]`; zero where nobody has two scans.
  """
  _, place, counts = np.unique(
    np.asarray(people), return_inverse=True, return_counts=True
  )
  away = expression - expression.mean(0)
  mean = (
    np.stack([np.bincount(place, column) for column in away.T], 1)
    / counts[:, None]
  )
  free = len(expression) - len(counts)
  if free == 0 or len(counts) < 2:
    return np.zeros_like(expression)
  within = np.sum((away - mean[place]) ** 2) / free
  among = np.sum(counts[:, None] * mean**2) / (len(counts) - 1)
  size = (counts.sum() - np.sum(counts**2) / counts.sum()) / (len(counts) - 1)
  between = max((among - within) / size, 0.0)
  share = between / (between + within / counts) if between else 0 * counts
  return (share[:, None] * mean)[place]


def _as_identity(
  model: MorphableModel, expression: Float[np.ndarray, "P E"]
) -> Float[np.ndarray, "P I"]:
  """The identity coefficients that move the face most alike."""
  basis = np.asarray(model.expression_basis, np.float64)
  moved = np.asarray(model.mean_shape) + np.einsum(
    "vce,pe->pvc", basis, expression
  )
  return closest_identity(model, moved)


def _rmse(
  away: Float[np.ndarray, "P 68 2"], seen: Float[np.ndarray, "P 68"]
) -> Float[np.ndarray, "P"]:
  squares = np.sum(seen * np.sum(away**2, -1), -1)
  return np.sqrt(squares / np.maximum(seen.sum(-1), 1)).astype(np.float32)
