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
from data_prep.stages.rows import PhotoRow, read_rows, write_manifest
from data_prep.stages.shard_loop import fill_shards, split_shards
from disentangle3d.evaluation.scan_projection import (
  ScanProjection,
  project_scan,
)
from disentangle3d.evaluation.scans import make_scan
from disentangle3d.faces.morphable_model import (
  MorphableModel,
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
    counts = fill_shards(folder, ALONE, work, num_photos=len(rows))
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
    found: list[tuple[PhotoRow, ScanProjection]] = []
    for place, row in enumerate(rows):
      try:
        files = self.listed[_scan_name(row)]
        found.append((row, _registered(row, files, self.model)))
      except RejectedScanError as error:
        rows[place] = row.rejected(str(error))
      progress(1)
    path = self.folder.manifest(shard)
    fits = fits_of(found, self.model) if found else no_fits(self.model)
    write_fits(fits_path(path), fits)
    write_manifest(path, rows)


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
  found: Sequence[tuple[PhotoRow, ScanProjection]], model: MorphableModel
) -> Fits:
  """Registrations as fits: a person's identity is the mean of their scans'.

  Args:
    found: Photos and what was laid over their scans.
    model: Whose coefficients these are.

  Returns:
    The fits; cameras are estimated by the photos' landmarks.
  """
  people = np.array([row.subject for row, _ in found])
  coefficients = np.stack([one.coefficients for _, one in found])
  own, expression = np.split(coefficients, [model.identity_dim], axis=1)
  identity = np.stack([own[people == person].mean(0) for person in people])
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


def _rmse(
  away: Float[np.ndarray, "P 68 2"], seen: Float[np.ndarray, "P 68"]
) -> Float[np.ndarray, "P"]:
  squares = np.sum(seen * np.sum(away**2, -1), -1)
  return np.sqrt(squares / np.maximum(seen.sum(-1), 1)).astype(np.float32)
