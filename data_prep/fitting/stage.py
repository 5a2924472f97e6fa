"""The stage `fit_faces`: coefficients of every person, shard by shard."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

from absl import logging
import numpy as np

from data_prep.fitting.fit_files import MORPHABLE_MODEL
from data_prep.fitting.landmark_index import LandmarkIndex, index_landmarks
from data_prep.fitting.network_prior import NetworkPrior, load_prior
from data_prep.fitting.plan import FitShard, plan_shards
from data_prep.fitting.shards import LEAST_VISIBLE, FitSettings, fit_shard
from data_prep.fitting.summary import write_fit_summary
from data_prep.stages.engine import LOCAL, Engine, Progress, ShardWork
from data_prep.stages.folder import (
  ALONE,
  Share,
  StageFolder,
  digest,
  open_stage,
)
from data_prep.stages.progress import progress
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_mask,
  save_morphable_model,
)
from disentangle3d.fitting.batched_fitting import FitModel, fit_model
from disentangle3d.fitting.calibration_choice import (
  calibrated_model,
  calibration_text,
  licences_of,
)
from disentangle3d.output_files import replace_file
from disentangle3d.types import UserError

_SKIPPED = "skipped.json"


_LISTED = 20


def fit_faces(
  landmarks: pathlib.Path,
  model: MorphableModel,
  output: pathlib.Path,
  *,
  settings: FitSettings,
  share: Share = ALONE,
  engine: Engine = LOCAL,
) -> dict[str, int] | None:
  """Fits all photos of a folder, or this machine's share of them.

  Args:
    landmarks: See `index_landmarks`.
    model: What to fit; a copy with the landmark calibration that was used
      goes into `output`.
    output: The folder to write; new, empty, or of an earlier run.
    settings: What decides the fits.
    share: Which shards are this machine's.
    engine: Who makes them.

  Returns:
    How many photos are ok, how many rejected for which reason; None where
    other machines' shards are still missing.

  Raises:
    UserFileNotFoundError: `landmarks` is missing or incomplete.
    UserError: Rows cannot be used (names file and row), no photo can be
      fitted, or `output` holds something else.
  """
  index = index_landmarks(landmarks)
  _report_bad(index, skip=settings.skip_bad)
  if not any(entry.ok for entry in index.entries):
    raise UserError(f"{landmarks}: no photo that can be fitted")
  model = calibrated_model(
    model, settings.landmark_calibration, detectors=index.detectors
  )
  logging.info("landmark calibration: %s", calibration_text(model))
  shards = plan_shards(index.entries, settings.images_per_shard)
  small = check_model(model, settings)
  prior = None
  if settings.about is not None:
    prior = load_prior(settings.about, model)
  with open_stage(
    output,
    "fit_faces",
    num_shards=len(shards),
    settings=_told(settings, model, prior),
    licences=index.licences
    | licences_of(model)
    | ({} if prior is None else prior.licences),
    inputs=digest([index.sha256.encode(), *_content(small)]),
    stages_before=index.stages,
    share=share,
  ) as folder:
    if not folder.is_begun():
      save_morphable_model(output / MORPHABLE_MODEL, model)
    _write_skipped(output, index)
    pending = folder.pending(share)
    photos = sum(len(shards[i].entries) for i in share.shards(len(shards)))
    left = sum(len(shards[i].entries) for i in pending)
    where = dataclasses.replace(index, entries=(), bad=())
    work = ShardWork(
      functools.partial(_fit, folder, where, small, settings, prior),
      part=shards.__getitem__,
      gains_from_gpu=True,
    )
    with progress("fitting", total=photos, done=photos - left) as update:
      engine.run(work, pending, update)
    if not folder.is_complete():
      logging.info("%s: other machines' shards are still missing", output)
      return None
    counts = folder.finish()
    write_fit_summary(output, model)
    return counts


def _fit(
  folder: StageFolder,
  index: LandmarkIndex,
  model: FitModel,
  settings: FitSettings,
  prior: NetworkPrior | None,
  number: int,
  shard: FitShard,
  progress: Progress,
) -> None:
  fit_shard(
    folder, number, shard, index, model, settings, progress, prior=prior
  )


def check_model(model: MorphableModel, settings: FitSettings) -> FitModel:
  """What of a model is fitted.

  Raises:
    UserError: It has too few landmarks, or no mesh for moving contours.
  """
  known = int(np.sum(landmark_mask(model)))
  if known < LEAST_VISIBLE:
    raise UserError(
      f"--morphable_model: expected a model with {LEAST_VISIBLE} landmarks or"
      f" more, got {model.name!r} with {known}; convert it with a list of"
      " landmarks"
    )
  try:
    return fit_model(model, moving_contour=settings.contour != "off")
  except ValueError as error:
    raise UserError(f"--morphable_model: {error}; or --contour=off") from error


def _told(
  settings: FitSettings, model: MorphableModel, prior: NetworkPrior | None
) -> dict[str, Any]:
  """The settings as `about.json` has them, without those that change nothing.

  A folder that was begun when there were fewer of them so goes on.
  """
  told = dataclasses.asdict(settings)
  if settings.options.expression_std == 1:
    del told["options"]["expression_std"]
  if prior is None:
    del told["about"]
  else:
    told["about"] = prior.name
  if settings.max_disagreement == FitSettings().max_disagreement:
    del told["max_disagreement"]
  if model.landmark_calibration is None:
    del told["landmark_calibration"]
    del told["options"]["noise"], told["options"]["noise_factor"]
  else:
    told["landmark_calibration"] = calibration_text(model)
  return told | {"model": model.name}


def _content(model: FitModel) -> list[bytes]:
  """What of a model decides a fit."""
  arrays = [
    model.model.mean_shape,
    model.model.identity_basis,
    model.model.expression_basis,
    model.model.landmark_vertices,
  ]
  if model.contour is not None:
    arrays.append(model.contour)
  if model.model.landmark_calibration is not None:
    arrays.append(model.model.landmark_calibration.covariance_mm2)
    arrays.append(model.model.landmark_calibration.yaw_edges_rad)
  return [np.ascontiguousarray(array).tobytes() for array in arrays]


def _report_bad(index: LandmarkIndex, *, skip: bool) -> None:
  """Lists rows that cannot be used, and stops unless they may be skipped."""
  if not index.bad:
    return
  if not skip and len(index.bad) == 1:
    raise UserError(str(index.bad[0]))
  for row in index.bad[:_LISTED]:
    logging.warning("%s", row)
  if len(index.bad) > _LISTED:
    logging.warning("... and %d more", len(index.bad) - _LISTED)
  if not skip:
    raise UserError(
      f"{index.bad[0]} (and {len(index.bad) - 1} more bad rows, listed above;"
      " --skip_bad goes on without them)"
    )


def _write_skipped(output: pathlib.Path, index: LandmarkIndex) -> None:
  skipped = [
    {"file": row.path.name, "row": row.line, "problem": row.problem}
    for row in index.bad
  ]
  text = json.dumps(skipped, indent=2) + "\n"
  replace_file(output / _SKIPPED, text)
