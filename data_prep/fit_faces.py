r"""Fits a morphable model to the landmarks of aligned photos.

    python -m data_prep.fit_faces --landmarks=aligned --model=model.npz \
      --output=fitted

All photos of a subject share one identity (3.3.2, Eq. 6-7). Landmarks are taken
to the crop first; coefficients, cameras and distances are the crop's.
"""

import dataclasses
import pathlib

from absl import flags, logging
import numpy as np
import tqdm

from data_prep import command_line
from data_prep.batched_fitting import ImageFits, fit_subjects
from data_prep.fit_files import MORPHABLE_MODEL, Fits, fits_path, write_fits
from data_prep.manifests import (
  PhotoRow,
  count_rows,
  list_manifests,
  read_licences,
  read_manifest,
  read_rows,
  report_rows,
  write_about,
  write_manifest,
)
from data_prep.output_files import new_folder
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
  save_morphable_model,
)
from disentangle3d.fitting.landmark_fitting import FitOptions

# Weak perspective has 6 parameters, 3 points at least.
_LEAST_VISIBLE = 4


def crop_landmarks(row: PhotoRow) -> np.ndarray:
  """The landmarks of an aligned photo in crop pixels, `[68, 2]`."""
  matrix = np.asarray(row.crop_from_photo, np.float64)
  points = np.asarray(row.landmarks, np.float64)
  mapped = points @ matrix[:, :2].T + matrix[None, :, 2]
  return mapped.astype(np.float32)


def check_row(row: PhotoRow, usable: np.ndarray) -> PhotoRow:
  """Gives up a photo with too few landmarks that the model has, `[68]`."""
  if row.status != "ok":
    return row
  visible = int(np.sum((np.asarray(row.visibility) > 0) & usable))
  if visible < _LEAST_VISIBLE:
    return row.rejected(f"too few visible landmarks: {visible}")
  return row


def fit_faces(
  landmarks: pathlib.Path,
  model: MorphableModel,
  output: pathlib.Path,
  *,
  options: FitOptions,
  batch_subjects: int = 64,
) -> list[PhotoRow]:
  """Fits all photos of a folder.

  Args:
    landmarks: What align_faces wrote.
    model: What to fit; a copy goes into `output`.
    output: The folder to write; new or empty.
    options: Of `fit_landmarks`.
    batch_subjects: At most so many subjects at a time.

  Returns:
    The rows written.

  Raises:
    FileNotFoundError: `landmarks` is missing or incomplete.
    ValueError: A manifest is malformed (names file and row), no photo can be
      fitted, or `output` is taken.
  """
  usable = np.asarray(model.landmark_vertices) >= 0
  # Across shards too: a subject's photos may lie in several.
  read_rows(landmarks, aligned=True)
  shards = {
    path.name: [
      check_row(row, usable) for row in read_manifest(path, aligned=True)
    ]
    for path in list_manifests(landmarks)
  }
  everything = [row for rows in shards.values() for row in rows]
  rows = [row for row in everything if row.status == "ok"]
  if not rows:
    raise ValueError(f"{landmarks}: no photo that can be fitted")
  licences = read_licences(landmarks) | {model.name: model.licence}
  with new_folder(output) as folder:
    with tqdm.tqdm(total=len(rows), desc="fitting", unit="photo") as bar:
      fits = fit_subjects(
        model,
        np.stack([crop_landmarks(row) for row in rows]),
        np.stack([np.asarray(row.visibility) for row in rows]),
        np.array([row.subject for row in rows]),
        options=options,
        batch_subjects=batch_subjects,
        progress=bar.update,
      )
    places = {row.image_id: place for place, row in enumerate(rows)}
    for name, shard in shards.items():
      chosen = [row.image_id for row in shard if row.status == "ok"]
      write_manifest(folder / name, shard)
      write_fits(
        fits_path(folder / name),
        _fits_of(fits, chosen, np.array([places[i] for i in chosen], int)),
      )
    save_morphable_model(folder / MORPHABLE_MODEL, model)
    write_about(
      folder,
      "fit_faces",
      settings={**dataclasses.asdict(options), "model": model.name},
      licences=licences,
      counts=count_rows(everything),
    )
  _report(fits)
  return everything


def _fits_of(fits: ImageFits, image_ids: list[str], places: np.ndarray) -> Fits:
  return Fits(
    image_id=np.array(image_ids, np.str_),
    identity_coefficients=fits.identity_coefficients[places],
    expression_coefficients=fits.expression_coefficients[places],
    camera_scale=fits.camera.scale[places],
    camera_rotation=fits.camera.rotation[places],
    camera_translation=fits.camera.translation[places],
    rmse_px=fits.rmse_px[places],
  )


def _report(fits: ImageFits) -> None:
  logging.info(
    "Distance of the landmarks: median %.2f px, 95 %% under %.2f px, worst"
    " %.2f px; %.0f %% of the photos' fits met the tolerance.",
    np.median(fits.rmse_px),
    np.percentile(fits.rmse_px, 95),
    fits.rmse_px.max(),
    100 * fits.converged.mean(),
  )


def define_flags() -> None:
  """Defines --landmarks, --model, --output and the options of the fit."""
  defaults = FitOptions()
  flags.DEFINE_string(
    "landmarks", None, "What align_faces wrote.", required=True
  )
  flags.DEFINE_string(
    "model",
    None,
    "The .npz that convert_morphable_model wrote.",
    required=True,
  )
  flags.DEFINE_string(
    "output", None, "The folder to write; new or empty.", required=True
  )
  flags.DEFINE_float(
    "landmark_std_px",
    defaults.landmark_std_px,
    "Noise of the landmarks in crop pixels; 0 takes the prior out.",
    lower_bound=0.0,
  )
  flags.DEFINE_integer(
    "batch_subjects", 64, "At most so many subjects at a time.", lower_bound=1
  )


def main() -> None:
  """Fits and reports."""
  output = pathlib.Path(flags.FLAGS.output)
  rows = fit_faces(
    pathlib.Path(flags.FLAGS.landmarks),
    load_morphable_model(flags.FLAGS.model),
    output,
    options=FitOptions(landmark_std_px=flags.FLAGS.landmark_std_px),
    batch_subjects=flags.FLAGS.batch_subjects,
  )
  report_rows(rows, output)


if __name__ == "__main__":
  command_line.run(main, define_flags)
