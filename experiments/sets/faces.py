"""Sets of faces to verify: crops, who is in them, and which pairs to compare.

A set's unit is what is compared: a photo, or a video whose frames' codes are
pooled. `evaluate_verification` makes the same table of every set.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Protocol

from jaxtyping import Array, Bool, Float, Int, UInt8
import numpy as np

from data_prep.datasets.synthetic_set import settings_of, world_of
from disentangle3d.evaluation.pair_plans import (
  PairPlan,
  draw_pairs,
  plan_pairs,
  usual_plan,
)
from disentangle3d.evaluation.pairs import Pairs, unit_rows
from disentangle3d.evaluation.rows import evenly
from disentangle3d.fitting.batched_fitting import fit_subjects
from disentangle3d.fitting.calibration_choice import AUTO, calibrated_model
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.training.dataset import (
  load_dataset_model,
  open_dataset,
  read_manifest,
)
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import decode_image
from experiments.sets.heldout import HeldOut, heldout_people, photos_with_albedo
from experiments.sets.missing import CROP, SCORE

PER_PERSON, PER_PHOTO = ALBEDOS = ("per_person", "per_photo")
_PLAN = PairPlan()
# Photos that a baseline learns from.
MOST_LEARNT = 1000


class Images(Protocol):
  """Crops by number: an array, or something that reads them when asked."""

  def __len__(self) -> int:
    """P."""

  def __getitem__(
    self, rows: Int[np.ndarray, "B"]
  ) -> UInt8[np.ndarray, "B 112 96 3"]:
    """The crops of some rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class FaceSet:
  """Faces to verify.

  Attributes:
    name: As tables print it.
    images: Crops, P of them.
    pairs: Indices of units.
    people: Who each unit shows, `[U]`; None where the set does not say.
    frames: The crops of each unit, U of them; None where they are the units.
    fitted: Identity coefficients of a landmark fit of each crop by itself,
      `[P, I]`, or None.
    training_images: Crops of other people, for methods that learn.
    missing: Which units have no face that was found, `[U]`; None for none.
    policy: What became of those, one of `missing.MISSING`.
    unreadable: Which of those have no picture that can be read; None for none.
  """

  name: str
  images: Images
  pairs: Pairs
  people: Int[np.ndarray, "U"] | None = None
  frames: Sequence[Int[np.ndarray, "F"]] | None = None
  fitted: Float[np.ndarray, "P I"] | None = None
  training_images: UInt8[np.ndarray, "T 112 96 3"] | None = None
  missing: Bool[np.ndarray, "U"] | None = None
  policy: str = CROP
  unreadable: Bool[np.ndarray, "U"] | None = None

  @property
  def refused(self) -> Bool[np.ndarray, "U"] | None:
    """The units whose pairs get the lowest score, `[U]`; None for none."""
    return self.missing if self.policy == SCORE else self.unreadable

  def pool(
    self, codes: Float[Array | np.ndarray, "P D"]
  ) -> Float[np.ndarray, "U D"]:
    """The codes of the units: the mean of their frames' at unit length."""
    if self.frames is None:
      return np.asarray(codes)
    rows = unit_rows(codes).astype(np.float32)
    return np.stack([rows[frames].mean(0) for frames in self.frames])


def synthetic_sets(dataset: str | pathlib.Path) -> list[FaceSet]:
  """The held-out people, with either albedo; the same pairs for both.

  Raises:
    FileNotFoundError: A file of the dataset is missing.
    ValueError: It was not made by render_synthetic, or is damaged, or has too
      few people to verify.
  """
  settings = settings_of(read_manifest(dataset), dataset)
  heldout = heldout_people(settings, *world_of(settings))
  return list(albedo_sets(heldout, training_images(dataset)).values())


def albedo_sets(
  heldout: HeldOut,
  learnt: UInt8[np.ndarray, "T 112 96 3"],
  *,
  usual: PairPlan = _PLAN,
) -> dict[str, FaceSet]:
  """Held-out people with either albedo; the same pairs for both.

  Args:
    heldout: Their photos.
    learnt: Photos of other people, for methods that learn.
    usual: How pairs are drawn, where there are people enough.

  Returns:
    By albedo.

  Raises:
    UserError: There are fewer than four people.
  """
  people = np.asarray(heldout.photos.person)
  pairs = draw_pairs(people, usual_plan(people, usual=usual))
  return {
    albedo: FaceSet(
      name=f"synthetic, {albedo}",
      images=photos_with_albedo(heldout, albedo),
      pairs=pairs,
      people=people,
      fitted=heldout.single.identity_coefficients,
      training_images=learnt,
    )
    for albedo in ALBEDOS
  }


def photo_set(
  dataset: str | pathlib.Path, *, landmark_calibration: str = AUTO
) -> FaceSet:
  """The split `heldout` of photographs; its `train` is there to learn from.

  The coefficients in a dataset were fitted to all photos of a person at once,
  which tells who it is: here each photo is fitted again, by itself.

  Args:
    dataset: Of build_dataset.
    landmark_calibration: Of those fits, as `calibrated_model` takes it; the
      dataset's model has its own.

  Raises:
    FileNotFoundError: A file of the dataset is missing.
    ValueError: The dataset is damaged, or has fewer than four people to
      verify.
  """
  split = open_dataset(dataset, "heldout")
  model = calibrated_model(load_dataset_model(split), landmark_calibration)
  reader = RecordReader(split)
  records = reader.read_records(range(len(reader)))
  people = np.unique(
    [record["subject"] for record in records], return_inverse=True
  )[1].astype(np.int32)
  landmarks = np.stack([record["landmarks"] for record in records])
  visibility = np.stack([record["visibility"] for record in records])
  fits = fit_subjects(
    model, landmarks, visibility, np.arange(len(records)), options=FitOptions()
  )
  return FaceSet(
    name=f"{pathlib.Path(dataset).resolve().name}, held-out people",
    images=np.stack([decode_image(record["image"]) for record in records]),
    pairs=draw_pairs(people, plan_pairs(people)),
    people=people,
    fitted=fits.identity_coefficients,
    training_images=training_images(dataset),
  )


def training_images(
  dataset: str | pathlib.Path,
) -> UInt8[np.ndarray, "T 112 96 3"]:
  """Crops of people of the split `train`, evenly taken, at most 1,000.

  Raises:
    FileNotFoundError: A file of the dataset is missing.
    ValueError: The dataset is damaged.
  """
  reader = RecordReader(open_dataset(dataset, "train", verify=False))
  rows = evenly(len(reader), MOST_LEARNT)
  return np.stack(
    [decode_image(record["image"]) for record in reader.read_records(rows)]
  )
