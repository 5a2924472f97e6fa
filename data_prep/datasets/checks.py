"""What must hold between the records of a dataset."""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import pathlib
from typing import Any

import numpy as np

from data_prep.datasets.content import (
  Limits,
  RecordedPhoto,
  Violation,
  check_files,
  read_split,
)
from data_prep.datasets.fingerprints import hash_distance, nearest_copies
from disentangle3d.training.dataset import MANIFEST, read_manifest

# Messages name so many of a set.
_NAMED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection:
  """What was found in a dataset.

  Attributes:
    folder: The dataset.
    manifest: Its manifest.
    splits: Split to its photos; "train" first.
    violations: All that is wrong.
    limits: What was taken for sane.
  """

  folder: pathlib.Path
  manifest: Mapping[str, Any]
  splits: Mapping[str, Sequence[RecordedPhoto]]
  violations: Sequence[Violation]
  limits: Limits


@dataclasses.dataclass(frozen=True)
class Repeats:
  """The same pixels more than once within one split.

  Attributes:
    photos: How many repeat one before.
    two_people: How many of them under the name of another person.
  """

  photos: int
  two_people: int


def check_dataset(
  folder: pathlib.Path, limits: Limits | None = None
) -> Inspection:
  """Reads a dataset and checks everything.

  Args:
    folder: The dataset.
    limits: What is sane; None takes the defaults.

  Returns:
    What was found.

  Raises:
    FileNotFoundError: There is no dataset.
    ValueError: Its manifest is malformed.
  """
  limits = limits or Limits()
  manifest = read_manifest(folder)
  violations = check_files(folder, manifest)
  splits: dict[str, list[RecordedPhoto]] = {}
  # "train" first: copies are told of the others.
  for name in sorted(manifest["splits"], key=lambda split: split != "train"):
    splits[name], found = read_split(folder, name, manifest, limits)
    violations += found
  violations += _check_splits(splits, manifest, limits)
  return Inspection(folder, manifest, splits, violations, limits)


def count_repeats(photos: Sequence[RecordedPhoto]) -> Repeats:
  """Counts what is allowed within a split, but worth knowing."""
  first: dict[bytes, RecordedPhoto] = {}
  repeated = two_people = 0
  for photo in photos:
    before = first.setdefault(photo.picture.digest, photo)
    if before is not photo:
      repeated += 1
      two_people += before.subject != photo.subject
  return Repeats(repeated, two_people)


def _check_splits(
  splits: Mapping[str, Sequence[RecordedPhoto]],
  manifest: Mapping[str, Any],
  limits: Limits,
) -> list[Violation]:
  """All checks of photos against each other and against the manifest.

  Args:
    splits: Split to its photos, as `read_split` found them.
    manifest: The dataset's.
    limits: What is sane.

  Returns:
    What is wrong; a photo is the copy of one other photo at most.
  """
  found = _check_image_ids(splits)
  for name, photos in splits.items():
    found += _check_labels(name, photos)
    found += _check_owners(name, photos, limits)
    labels = {photo.label for photo in photos}
    if name != "train" and labels != set(
      range(min(labels, default=0), max(labels, default=-1) + 1)
    ):
      found.append(
        Violation(
          "label",
          name,
          f"expected labels {min(labels)} to {max(labels)} without a hole, got"
          f" {len(labels)} of them",
        )
      )
  train = {photo.label for photo in splits.get("train", ())}
  expected = int(manifest["num_classes"])
  if train and train != set(range(expected)):
    missing = sorted(set(range(expected)) - train)
    beyond = sorted(train - set(range(expected)))
    found.append(
      Violation(
        "label",
        "train",
        f"expected labels 0 to {expected - 1} as {MANIFEST} says; missing"
        f" {_few(missing)}, beyond {_few(beyond)}",
      )
    )
  for first, second in itertools.combinations(splits, 2):
    found += _check_people(first, splits[first], second, splits[second])
    found += _check_copies(first, splits[first], second, splits[second], limits)
  return found + _check_counts(splits, manifest)


def _check_counts(
  splits: Mapping[str, Sequence[RecordedPhoto]], manifest: Mapping[str, Any]
) -> list[Violation]:
  found = []
  for name, photos in splits.items():
    about = manifest["splits"][name]
    people = len({photo.subject for photo in photos})
    for what, told, got in (
      ("records that can be read", about["num_records"], len(photos)),
      ("people", about["num_people"], people),
    ):
      if told != got:
        found.append(
          Violation(
            "count",
            name,
            f"expected {told} {what} as {MANIFEST} says, got {got}",
          )
        )
  return found


def _check_image_ids(
  splits: Mapping[str, Sequence[RecordedPhoto]],
) -> list[Violation]:
  found = []
  seen: dict[str, tuple[str, int]] = {}
  for name, photos in splits.items():
    for index, photo in enumerate(photos):
      other = seen.setdefault(photo.image_id, (name, index))
      if other != (name, index):
        found.append(
          Violation(
            "image id",
            f"{name}/{photo.image_id}",
            f"expected each once, got it in {other[0]!r} already",
            (other, (name, index)),
          )
        )
  return found


def _check_labels(
  split: str, photos: Sequence[RecordedPhoto]
) -> list[Violation]:
  found = []
  label_of: dict[str, int] = {}
  subject_of: dict[int, str] = {}
  for index, photo in enumerate(photos):
    where, shown = f"{split}/{photo.image_id}", ((split, index),)
    label = label_of.setdefault(photo.subject, photo.label)
    if label != photo.label:
      message = (
        f"expected label {label} as {photo.subject!r} had before, got"
        f" {photo.label}"
      )
      found.append(Violation("label", where, message, shown))
      continue
    subject = subject_of.setdefault(photo.label, photo.subject)
    if subject != photo.subject:
      message = (
        f"expected another label than {photo.label}, which is that of"
        f" {subject!r}, for {photo.subject!r}"
      )
      found.append(Violation("label", where, message, shown))
  return found


def _check_owners(
  split: str, photos: Sequence[RecordedPhoto], limits: Limits
) -> list[Violation]:
  """That no photo of a split is two people's."""
  found = []
  first: dict[bytes, int] = {}
  for index, photo in enumerate(photos):
    before = first.setdefault(photo.picture.digest, index)
    # Blank pictures are all alike, and named for it already.
    if photos[before].subject != photo.subject and not _blank(photo, limits):
      found.append(
        Violation(
          "two people's photo",
          f"{split}/{photo.image_id}",
          f"expected pictures of {photo.subject!r} alone, got the pixels of"
          f" {photos[before].image_id}, which is {photos[before].subject!r}",
          ((split, before), (split, index)),
        )
      )
  return found


def _check_people(
  first: str,
  photos: Sequence[RecordedPhoto],
  second: str,
  others: Sequence[RecordedPhoto],
) -> list[Violation]:
  here = {photo.subject: i for i, photo in reversed([*enumerate(photos)])}
  there = {photo.subject: i for i, photo in reversed([*enumerate(others)])}
  return [
    Violation(
      "person in two splits",
      f"{second}/{subject}",
      f"expected nobody of {first!r}",
      ((first, here[subject]), (second, index)),
    )
    for subject, index in sorted(there.items())
    if subject in here
  ]


def _check_copies(
  first: str,
  photos: Sequence[RecordedPhoto],
  second: str,
  others: Sequence[RecordedPhoto],
  limits: Limits,
) -> list[Violation]:
  found = []
  by_digest: dict[bytes, int] = {}
  for index, photo in enumerate(photos):
    by_digest.setdefault(photo.picture.digest, index)
  rest = []
  for index, photo in enumerate(others):
    same = by_digest.get(photo.picture.digest)
    if same is None:
      rest.append(index)
      continue
    found.append(
      Violation(
        "exact duplicate",
        f"{second}/{photo.image_id}",
        f"the pixels of {first}/{photos[same].image_id}",
        ((first, same), (second, index)),
      )
    )
  # Blank pictures are all alike, and named for it already.
  clear = [i for i, p in enumerate(photos) if not _blank(p, limits)]
  rest = [i for i in rest if not _blank(others[i], limits)]
  if not clear or not rest:
    return found
  partner, correlation = nearest_copies(
    *_arrays(photos, clear),
    *_arrays(others, rest),
    max_bits=limits.near_bits,
    min_correlation=limits.near_correlation,
  )
  for place in np.flatnonzero(partner >= 0):
    here, there = clear[partner[place]], rest[place]
    bits = hash_distance(photos[here].picture.hash, others[there].picture.hash)
    found.append(
      Violation(
        "near duplicate",
        f"{second}/{others[there].image_id}",
        f"{bits} bits from {first}/{photos[here].image_id}, correlation"
        f" {correlation[place]:.4f}",
        ((first, here), (second, there)),
      )
    )
  return found


def _blank(photo: RecordedPhoto, limits: Limits) -> bool:
  return photo.picture.contrast < limits.min_contrast


def _arrays(
  photos: Sequence[RecordedPhoto], indices: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
  return (
    np.array([photos[i].picture.hash for i in indices], np.uint64),
    np.stack([photos[i].picture.thumbnail for i in indices]),
  )


def _few(values: Sequence[int]) -> str:
  named = ", ".join(map(str, values[:_NAMED]))
  more = len(values) - _NAMED
  return (named or "none") + (f" and {more} more" if more > 0 else "")
