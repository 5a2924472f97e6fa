r"""Makes the dataset that training reads out of fitted photos.

    python -m data_prep.build_dataset --fits=fitted --output=dataset \
      --heldout_people=6

People, not photos, are split: nobody in "heldout" is in "train". Labels count
the people of "train" from 0 in natural order of their names, and go on with
those of "heldout".
"""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
import json
import pathlib
from typing import Any

from absl import flags, logging
import numpy as np

from data_prep import command_line
from data_prep.dataset_writer import write_dataset
from data_prep.fit_files import MORPHABLE_MODEL, Fits, fits_path, read_fits
from data_prep.manifests import (
  ABOUT,
  PhotoRow,
  count_rows,
  list_manifests,
  read_licences,
  read_rows,
)
from data_prep.photos import natural_key
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
)
from disentangle3d.geometry import apply_affine
from disentangle3d.training.records import decode_image

# How far a photo may come; see `count_stages`.
STAGES = ("photos", "detected", "located", "aligned", "fitted", "kept")


def split_people(
  people: Sequence[str], heldout: str, *, seed: int
) -> tuple[list[str], list[str]]:
  """Who is trained on and who is not.

  Args:
    people: All of them.
    heldout: How many to hold out, picked by `seed`; or their names with
      commas between them (one name that is a number: with a comma behind it).
    seed: Of the pick.

  Returns:
    People to train on and people held out, each in natural order.

  Raises:
    ValueError: A name is unknown, or nobody is left to train on.
  """
  people = sorted(set(people), key=natural_key)
  if heldout.isdecimal():
    count = int(heldout)
    if count >= len(people):
      raise ValueError(
        f"heldout people: expected fewer than the {len(people)} people there"
        f" are, got {count}"
      )
    order = np.random.default_rng(seed).permutation(len(people))
    chosen = {people[i] for i in order[:count]}
  else:
    chosen = {name.strip() for name in heldout.split(",")} - {""}
    unknown = sorted(chosen - set(people), key=natural_key)
    if unknown or not chosen:
      raise ValueError(
        "heldout people: expected a number or names of people in the photos,"
        f" got {unknown[0] if unknown else heldout!r}"
      )
    if len(chosen) == len(people):
      raise ValueError("heldout people: expected someone to be left to train")
  train = [name for name in people if name not in chosen]
  return train, [name for name in people if name in chosen]


def read_all_fits(
  folder: pathlib.Path, model: MorphableModel
) -> dict[str, dict[str, np.ndarray]]:
  """The fits of a folder by image_id, as the fields of a record.

  Raises:
    FileNotFoundError: A fits-*.npz is missing.
    ValueError: One is malformed, or of another model's size.
  """
  found: dict[str, dict[str, np.ndarray]] = {}
  for manifest in list_manifests(folder):
    path = fits_path(manifest)
    fits = read_fits(path)
    for name, expected in (
      ("identity_coefficients", model.identity_dim),
      ("expression_coefficients", model.expression_dim),
    ):
      got = getattr(fits, name).shape[1]
      if got != expected:
        raise ValueError(
          f"{path}: expected {expected} {name} as {MORPHABLE_MODEL} has modes,"
          f" got {got}"
        )
    for index, image_id in enumerate(fits.image_id.tolist()):
      found[image_id] = _fit_fields(fits, index)
  return found


def make_records(
  rows: Sequence[PhotoRow],
  fits: dict[str, dict[str, np.ndarray]],
  people: Sequence[str],
  first_label: int,
) -> Iterator[dict[str, Any]]:
  """The records of the "ok" photos of some people.

  Args:
    rows: All rows.
    fits: See `read_all_fits`.
    people: Whose photos to take; labels count them.
    first_label: The label of the first of them.

  Yields:
    Records as `training.records.encode_record` takes them.

  Raises:
    FileNotFoundError: A crop is gone.
    ValueError: A crop is no 112 x 96 PNG, or a photo has no fit.
  """
  labels = {name: first_label + i for i, name in enumerate(people)}
  for row in rows:
    if row.status != "ok" or row.subject not in labels:
      continue
    if row.image_id not in fits:
      raise ValueError(f"{row.image_id}: ok in the manifest, but has no fit")
    png = row.crop_path.read_bytes()
    try:
      decode_image(png)
    except ValueError as error:
      raise ValueError(f"{row.crop_path}: {error}") from error
    yield {
      "image": png,
      "label": labels[row.subject],
      "subject": row.subject,
      "image_id": row.image_id,
      "landmarks": np.asarray(apply_affine(row.crop_from_photo, row.landmarks)),
      "visibility": row.visibility,
      "crop_from_photo": row.crop_from_photo,
      **fits[row.image_id],
    }


def count_stages(
  rows: Sequence[PhotoRow], fitted: Container[str]
) -> dict[str, int]:
  """How many photos came how far.

  Args:
    rows: All rows.
    fitted: Image ids that have a fit, a good one or not.

  Returns:
    Photos looked at; with a box, with landmarks, with a place in the crop,
    with a fit; and kept in the dataset.
  """
  reached = (
    len(rows),
    sum(row.box is not None for row in rows),
    sum(row.landmarks is not None for row in rows),
    sum(row.crop_from_photo is not None for row in rows),
    sum(row.image_id in fitted for row in rows),
    sum(row.status == "ok" for row in rows),
  )
  return dict(zip(STAGES, reached, strict=True))


def count_reasons(rows: Sequence[PhotoRow]) -> dict[str, int]:
  """How many photos were rejected for which reason.

  Reasons may end in details after a colon; the kind is what counts.
  """
  kinds = Counter(
    row.reason.split(":")[0] for row in rows if row.status != "ok"
  )
  return dict(kinds)


def build_dataset(
  folder: pathlib.Path, output: pathlib.Path, *, heldout: str, seed: int = 0
) -> dict[str, int]:
  """Writes the dataset.

  Args:
    folder: What fit_faces wrote.
    output: The dataset to write; new.
    heldout: See `split_people`.
    seed: See `split_people`.

  Returns:
    How many people are in each split.

  Raises:
    FileNotFoundError: `folder` is missing or incomplete.
    ValueError: Something in it is malformed, or `heldout` does not fit it.
  """
  rows = read_rows(folder, aligned=True)
  model = load_morphable_model(folder / MORPHABLE_MODEL)
  fits = read_all_fits(folder, model)
  train, heldout_people = split_people(
    [row.subject for row in rows if row.status == "ok"], heldout, seed=seed
  )
  splits = {"train": make_records(rows, fits, train, 0)}
  if heldout_people:
    splits["heldout"] = make_records(rows, fits, heldout_people, len(train))
  settings = {
    "stage": "build_dataset",
    "heldout_people": heldout_people,
    "seed": seed,
    "counts": count_rows(rows),
    "stages": count_stages(rows, fits),
    "rejected_by_reason": count_reasons(rows),
    "rejected": {
      row.image_id: row.reason for row in rows if row.status != "ok"
    },
    "licences": {
      **read_licences(folder),
      model.name: model.licence,
    },
    "fits": _settings_of(folder),
  }
  write_dataset(output, splits, model, settings)
  return {"train": len(train), "heldout": len(heldout_people)}


def define_flags() -> None:
  """Defines --fits, --output, --heldout_people, --seed."""
  flags.DEFINE_string("fits", None, "What fit_faces wrote.", required=True)
  flags.DEFINE_string("output", None, "The folder to write.", required=True)
  flags.DEFINE_string(
    "heldout_people",
    None,
    "How many people to hold out, or their names with commas between them.",
    required=True,
  )
  flags.DEFINE_integer("seed", 0, "Of the pick of the people held out.")


def main() -> None:
  """Builds and reports."""
  people = build_dataset(
    pathlib.Path(flags.FLAGS.fits),
    pathlib.Path(flags.FLAGS.output),
    heldout=flags.FLAGS.heldout_people,
    seed=flags.FLAGS.seed,
  )
  logging.info(
    "Wrote %s: %d people to train on, %d held out.",
    flags.FLAGS.output,
    people["train"],
    people["heldout"],
  )


def _settings_of(folder: pathlib.Path) -> dict[str, Any]:
  """Stage and settings in an about.json that `read_licences` took."""
  about = json.loads((folder / ABOUT).read_text("utf-8"))
  return {name: about.get(name) for name in ("stage", "settings")}


def _fit_fields(fits: Fits, index: int) -> dict[str, np.ndarray]:
  names = (
    "identity_coefficients",
    "expression_coefficients",
    "camera_scale",
    "camera_rotation",
    "camera_translation",
  )
  return {name: np.asarray(getattr(fits, name)[index]) for name in names}


if __name__ == "__main__":
  command_line.run(main, define_flags)
