"""What a set's later stages would refuse, told before the first begins."""

from collections.abc import Mapping, Sequence
import concurrent.futures
import os
import pathlib
import re

from data_prep.datasets.building import split_people
from data_prep.datasets.preparation import Step
from data_prep.photos.photo_sets import Photo
from data_prep.stages.about import read_counts, read_settings
from data_prep.stages.child_process import told_by
from data_prep.stages.folder import has_shards
from disentangle3d.crop_templates import SPHEREFACE, TEMPLATES
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.output_files import check_space
from disentangle3d.types import UserError

# What a photo takes at least, in bytes: rows, a crop, coefficients, a record.
_LEAST_BYTES = {
  "detect_faces": 300,
  "locate_landmarks": 2_000,
  "align_faces": 7_000,
  "fit_faces": 3_000,
  "build_dataset": 6_000,
}
_FLOAT_BYTES = 4
# What prepare_dataset says of its own accord needs no check.
_OUR_OWN = {"photo_licence", "heldout_people"}
# What these want is not always installed, or not in every model.
_WITH_NEEDS = ("locate_landmarks", "fit_faces")


def check_steps(
  steps: Sequence[Step],
  output: pathlib.Path,
  photos: Sequence[Photo],
  model: MorphableModel,
) -> None:
  """Checks all that follows from the photos and the flags.

  Args:
    steps: From `plan_steps`.
    output: The folder of them all.
    photos: The set's.
    model: What is fitted.

  Raises:
    UserError: A flag is wrong, or does not go with the photos, or a stage was
      begun with another; the disk is too full, or cannot be written to.
  """
  by_stage = {step.stage: step for step in steps}
  _check_begun(steps, output)
  _check_people(by_stage["build_dataset"].options, photos)
  _check_template(by_stage["align_faces"].options)
  _check_points(by_stage["locate_landmarks"].options, photos)
  _check_disk(steps, output, len(photos), model)
  left = [
    step
    for step in steps
    if not read_counts(step.folder)
    and (step.stage in _WITH_NEEDS or step.options.keys() - _OUR_OWN)
  ]
  with concurrent.futures.ThreadPoolExecutor(len(steps)) as pool:
    list(pool.map(_check_flags, left))


def _check_begun(steps: Sequence[Step], output: pathlib.Path) -> None:
  """What a stage that has written something was begun with must not change."""
  begun = read_settings(output)
  for step in steps:
    if not has_shards(step.folder):
      continue
    before = {
      name.partition(".")[2]: value
      for name, value in begun.items()
      if name.startswith(f"{step.stage}.")
    }
    for name in sorted(before.keys() | step.options.keys()):
      was, now = before.get(name), step.options.get(name)
      if was != now:
        raise UserError(
          f"{step.folder}: begun with {step.stage}.{name} {was!r}, expected"
          f" the same to go on, got {now!r}; give another --output, or remove"
          " this folder and those of the stages after it"
        )


def _check_people(options: Mapping[str, str], photos: Sequence[Photo]) -> None:
  try:
    seed = int(options.get("seed", "0"))
  except ValueError:
    return  # `_check_flags` says it.
  split_people(
    [photo.subject for photo in photos], options["heldout_people"], seed=seed
  )


def _check_template(options: Mapping[str, str]) -> None:
  template = options.get("template", SPHEREFACE)
  if template not in TEMPLATES:
    raise UserError(
      f"--set=align_faces.template: expected {' or '.join(TEMPLATES)}, whose"
      f" crops build_dataset takes, got {template}; align_faces by itself makes"
      " others"
    )


def _check_points(options: Mapping[str, str], photos: Sequence[Photo]) -> None:
  if options.get("locator") != "pts" or "points" not in options:
    return
  folder = pathlib.Path(os.path.expanduser(options["points"]))
  if folder.is_dir() and not any(
    (folder / photo.image_id).with_suffix(".pts").is_file() for photo in photos
  ):
    raise UserError(
      f"--set=locate_landmarks.points: {folder}: expected a .pts file for some"
      f" photo, e.g. {photos[0].image_id} with .pts for its suffix, found none"
    )


def _check_disk(
  steps: Sequence[Step],
  output: pathlib.Path,
  num_photos: int,
  model: MorphableModel,
) -> None:
  coefficients = model.identity_dim + model.expression_dim
  need = 0
  for step in steps:
    if step.folder.exists() and not os.access(step.folder, os.W_OK):
      raise UserError(f"{step.folder}: cannot be written to; mend that")
    if not has_shards(step.folder):
      need += num_photos * _LEAST_BYTES[step.stage]
      if step.stage in ("fit_faces", "build_dataset"):
        need += num_photos * coefficients * _FLOAT_BYTES
  check_space(output, need)


def _check_flags(step: Step) -> None:
  said = told_by(*step.command("--only_check_args"))
  if said:
    *_, line = said.strip().splitlines()
    line = re.sub(r"^ERROR: ", "", line)
    raise UserError(re.sub("^--", f"--set={step.stage}.", line))
