r"""Fits a morphable model to the landmarks of aligned photos.

    python -m data_prep.fit_faces --landmarks=aligned --model=model.npz \
      --output=fitted

All photos of a subject share one identity (3.3.2, Eq. 6-7). Landmarks are taken
to the crop first; coefficients, cameras and distances are the crop's.

The output is written shard by shard, whole subjects in each: run again after
an interruption, it goes on with the next, and `--shard=i/n` shares the work
among n machines on one file system. Whoever writes the last shard writes the
summary, `summary.json` and `summary.html`.
"""

import dataclasses
import json
import pathlib

from absl import flags, logging
import numpy as np
import tqdm

from data_prep import command_line
from data_prep.batched_fitting import FitModel, fit_model
from data_prep.fit_files import MORPHABLE_MODEL
from data_prep.fit_plan import plan_shards
from data_prep.fit_shards import CONTOURS, FitSettings, fit_shard
from data_prep.fit_summary import write_summary
from data_prep.landmark_index import LandmarkIndex, index_landmarks
from data_prep.output_files import replace_file
from data_prep.stage_folder import ALONE, Share, digest, open_stage, parse_share
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
  save_morphable_model,
)
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.fitting.options import ROBUST_COSTS

SKIPPED = "skipped.json"
_LISTED = 20


def fit_faces(
  landmarks: pathlib.Path,
  model: MorphableModel,
  output: pathlib.Path,
  *,
  settings: FitSettings,
  share: Share = ALONE,
) -> dict[str, int] | None:
  """Fits all photos of a folder, or this machine's share of them.

  Args:
    landmarks: See `index_landmarks`.
    model: What to fit; a copy goes into `output`.
    output: The folder to write; new, empty, or of an earlier run.
    settings: What decides the fits.
    share: Which shards are this machine's.

  Returns:
    How many photos are ok, how many rejected for which reason; None where
    other machines' shards are still missing.

  Raises:
    FileNotFoundError: `landmarks` is missing or incomplete.
    ValueError: Rows cannot be used (names file and row), no photo can be
      fitted, or `output` holds something else.
  """
  index = index_landmarks(landmarks)
  _report_bad(index, skip=settings.skip_bad)
  if not any(entry.ok for entry in index.entries):
    raise ValueError(f"{landmarks}: no photo that can be fitted")
  shards = plan_shards(index.entries, settings.images_per_shard)
  small = fit_model(model, moving_contour=settings.contour != "off")
  folder = open_stage(
    output,
    "fit_faces",
    num_shards=len(shards),
    settings={**dataclasses.asdict(settings), "model": model.name},
    licences=index.licences | {model.name: model.licence},
    inputs=digest([index.sha256.encode(), *_content(small)]),
    stages_before=index.stages,
  )
  if not (output / MORPHABLE_MODEL).is_file():
    save_morphable_model(output / MORPHABLE_MODEL, model)
  _write_skipped(output, index)
  pending = folder.pending(share)
  photos = sum(len(shards[i].entries) for i in share.shards(len(shards)))
  left = sum(len(shards[i].entries) for i in pending)
  with tqdm.tqdm(
    total=photos, initial=photos - left, desc="fitting", unit="photo"
  ) as bar:
    for number in pending:
      fit_shard(folder, number, shards[number], index, small, settings, bar)
  if not folder.is_complete():
    logging.info("%s: other machines' shards are still missing", output)
    return None
  counts = folder.finish()
  write_summary(output, model)
  return counts


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
  return [np.ascontiguousarray(array).tobytes() for array in arrays]


def _report_bad(index: LandmarkIndex, *, skip: bool) -> None:
  """Lists rows that cannot be used, and stops unless they may be skipped."""
  if not index.bad:
    return
  if not skip and len(index.bad) == 1:
    raise ValueError(str(index.bad[0]))
  for row in index.bad[:_LISTED]:
    logging.warning("%s", row)
  if len(index.bad) > _LISTED:
    logging.warning("... and %d more", len(index.bad) - _LISTED)
  if not skip:
    raise ValueError(
      f"{index.bad[0]} (and {len(index.bad) - 1} more bad rows, listed above;"
      " --skip_bad goes on without them)"
    )


def _write_skipped(output: pathlib.Path, index: LandmarkIndex) -> None:
  skipped = [
    {"file": row.path.name, "row": row.line, "problem": row.problem}
    for row in index.bad
  ]
  text = json.dumps(skipped, indent=2) + "\n"
  replace_file(output / SKIPPED, text.encode())


def define_flags() -> None:
  """Defines --landmarks, --model, --output, and how to fit."""
  defaults = FitSettings()
  flags.DEFINE_string(
    "landmarks",
    None,
    "What align_faces wrote, one manifest shard of it, or folders of .pts.",
    required=True,
  )
  flags.DEFINE_string(
    "model", None, "The .npz convert_morphable_model wrote.", required=True
  )
  flags.DEFINE_string(
    "output",
    None,
    "The folder to write; new, empty, or of an earlier run to go on with.",
    required=True,
  )
  flags.DEFINE_string(
    "shard", "0/1", "This machine's part, i/n with i from 0 to n - 1."
  )
  flags.DEFINE_float(
    "landmark_std_px",
    defaults.options.landmark_std_px,
    "Noise of the landmarks in crop pixels; 0 takes the prior out.",
    lower_bound=0.0,
  )
  flags.DEFINE_enum(
    "robust", defaults.options.robust, ROBUST_COSTS, "Cost of a distance."
  )
  flags.DEFINE_float(
    "robust_scale_px",
    defaults.options.robust_scale_px,
    "From where on a landmark counts as an outlier, crop pixels.",
    lower_bound=0.0,
  )
  flags.DEFINE_enum(
    "contour",
    defaults.contour,
    CONTOURS,
    "Whose jaw contours follow the silhouette: detector is those of detectors"
    " that report the visible contour.",
  )
  flags.DEFINE_float(
    "max_relative_error",
    defaults.max_relative_error,
    "Rejects photos met worse than this part of the face's size (90 mm).",
    lower_bound=0.0,
  )
  flags.DEFINE_integer(
    "images_per_shard",
    defaults.images_per_shard,
    "About how many; a kill loses at most one shard.",
    lower_bound=1,
  )
  flags.DEFINE_bool(
    "skip_bad", False, "Goes on without rows that cannot be used, listed."
  )


def settings_from_flags() -> FitSettings:
  """The settings that `define_flags` asks for."""
  values = flags.FLAGS
  return FitSettings(
    options=FitOptions(
      landmark_std_px=values.landmark_std_px,
      robust=values.robust,
      robust_scale_px=values.robust_scale_px,
    ),
    contour=values.contour,
    max_relative_error=values.max_relative_error,
    images_per_shard=values.images_per_shard,
    skip_bad=values.skip_bad,
  )


def main() -> None:
  """Fits and reports."""
  output = pathlib.Path(flags.FLAGS.output)
  counts = fit_faces(
    pathlib.Path(flags.FLAGS.landmarks),
    load_morphable_model(flags.FLAGS.model),
    output,
    settings=settings_from_flags(),
    share=parse_share(flags.FLAGS.shard),
  )
  for kind, count in (counts or {}).items():
    logging.info("%s: %d %s", output, count, kind)


if __name__ == "__main__":
  command_line.run(main, define_flags)
