"""What is in a dataset, read once from its first record to its last."""

from collections.abc import Iterator, Mapping, Sequence
import concurrent.futures
import dataclasses
import os
import pathlib
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader
import numpy as np

from data_prep.datasets.fingerprints import Fingerprint, fingerprint
from data_prep.stages.progress import progress
from disentangle3d.training.dataset import (
  MANIFEST,
  MORPHABLE_MODEL,
  check_checksum,
  check_file,
)
from disentangle3d.training.records import (
  decode_image,
  decode_record,
  encode_record,
)
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError

_CHUNK = 512
# How far R R^T may be from 1.
_ROTATION_TOLERANCE = 1e-2


@dataclasses.dataclass(frozen=True)
class Limits:
  """What is taken for sane.

  Attributes:
    max_coefficient: Largest size of a coefficient, standard deviations.
    landmark_margin_px: How far a visible landmark may lie outside the crop.
    min_contrast: Least standard deviation of a crop's grey levels.
    near_bits: See `fingerprints.nearest_copies`.
    near_correlation: Same.
  """

  max_coefficient: float = 10.0
  landmark_margin_px: float = 32.0
  min_contrast: float = 4.0
  near_bits: int = 4
  near_correlation: float = 0.995


@dataclasses.dataclass(frozen=True)
class Violation:
  """Something that must not be.

  Attributes:
    kind: A few words, the same for all of a kind.
    where: A file or split, or split/image_id.
    message: What was expected and what was found.
    photos: The photos it is about, as (split, index), if any.
  """

  kind: str
  where: str
  message: str
  photos: tuple[tuple[str, int], ...] = ()

  def __str__(self) -> str:
    return f"{self.kind}: {self.where}: {self.message}"


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedPhoto:
  """What is kept of a record.

  Attributes:
    file: The ArrayRecord file it is in.
    place: Its number in that file.
    image_id: As in the record.
    subject: As in the record.
    label: As in the record.
    picture: Of the crop.
    identity_size: Size of the largest identity coefficient.
    expression_size: Same, of expression.
    outside_px: How far the outermost visible landmark is outside the crop;
      negative inside.
  """

  file: pathlib.Path
  place: int
  image_id: str
  subject: str
  label: int
  picture: Fingerprint
  identity_size: float
  expression_size: float
  outside_px: float


def check_files(
  folder: pathlib.Path, manifest: Mapping[str, Any]
) -> list[Violation]:
  """Every file against the manifest: there, of its count and its checksum.

  Raises:
    UserError: The manifest is malformed.
  """
  found = []
  named = set()
  try:
    splits = manifest["splits"].values()
    for about in splits:
      int(about["num_records"]), int(about["num_people"])
    for entry in (entry for about in splits for entry in about["files"]):
      named.add(entry["name"])
      try:
        check_file(folder / entry["name"], entry, verify=True)
      except (ValueError, OSError) as error:
        found.append(_file_violation(folder / entry["name"], error))
    try:
      check_checksum(
        folder / MORPHABLE_MODEL, manifest["morphable_model"], verify=True
      )
    except (ValueError, OSError) as error:
      found.append(_file_violation(folder / MORPHABLE_MODEL, error))
  except (KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f"{folder / MANIFEST}: expected splits with their files, got one without"
      f" or with another {error}"
    ) from error
  found += [
    Violation("file", path.name, f"not in {MANIFEST}")
    for path in sorted(folder.glob("*.array_record"))
    if path.name not in named
  ]
  return found


def read_split(
  folder: pathlib.Path, name: str, manifest: Mapping[str, Any], limits: Limits
) -> tuple[list[RecordedPhoto], list[Violation]]:
  """Reads a split and checks each record by itself.

  Args:
    folder: The dataset.
    name: The split.
    manifest: The dataset's; `check_files` took it.
    limits: What is sane.

  Returns:
    The photos that could be read, in order; and what is wrong with any.
  """
  photos: list[RecordedPhoto] = []
  violations: list[Violation] = []
  sizes = {
    key: manifest[key.replace("coefficients", "dim")]
    for key in ("identity_coefficients", "expression_coefficients")
  }
  about = manifest["splits"][name]
  with (
    concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    progress(name, total=about["num_records"]) as update,
  ):
    for entry in about["files"]:
      path = folder / entry["name"]
      try:
        for first, chunk in _chunks(path):
          measured = pool.map(_measure, chunk, [sizes] * len(chunk))
          for place, (photo, problem) in enumerate(measured, start=first):
            if photo is None:
              where = f"{name}/{problem[1]}" if problem[1] else path.name
              violations.append(
                Violation("record", where, f"record {place}: {problem[0]}")
              )
              continue
            photo = dataclasses.replace(photo, file=path, place=place)
            violations += _check_photo(name, len(photos), photo, limits)
            if problem[0]:
              violations.append(
                Violation(
                  "camera",
                  f"{name}/{photo.image_id}",
                  problem[0],
                  ((name, len(photos)),),
                )
              )
            photos.append(photo)
          update(len(chunk))
      except (ValueError, RuntimeError, OSError) as error:
        # A file that is missing or changed was named by `check_files`.
        violations.append(
          Violation("file", path.name, f"cannot be read to its end ({error})")
        )
  return photos, violations


def read_records(photos: Sequence[RecordedPhoto]) -> list[dict[str, Any]]:
  """The records of some photos once more, in their order."""
  records = []
  for photo in photos:
    reader = ArrayRecordReader(str(photo.file))
    records.append(decode_record(reader.read([photo.place])[0]))
    reader.close()
  return records


def _file_violation(path: pathlib.Path, error: Exception) -> Violation:
  message = str(error).removeprefix(f"{path}: ")
  return Violation("file", path.name, " ".join(message.splitlines()))


def _chunks(path: pathlib.Path) -> Iterator[tuple[int, list[bytes]]]:
  if not path.is_file():
    return
  reader = ArrayRecordReader(str(path))
  try:
    total = reader.num_records()
    for first in range(0, total, _CHUNK):
      yield first, reader.read(first, min(first + _CHUNK, total))
  finally:
    reader.close()


def _measure(
  data: bytes, sizes: Mapping[str, int]
) -> tuple[RecordedPhoto | None, tuple[str, str]]:
  """A record's photo, or None; with a problem and whose it is."""
  image_id = ""
  try:
    record = decode_record(data)
    image_id = str(record["image_id"])
    # Whatever a record must be, `encode_record` refuses it where it is not.
    encode_record(record)
    for name, size in sizes.items():
      if record[name].shape != (size,):
        raise UserError(
          f"expected {name} of shape [{size}] as {MANIFEST} says, got"
          f" {list(record[name].shape)}"
        )
    image = decode_image(record["image"])
  except (ValueError, TypeError) as error:
    return None, (" ".join(str(error).splitlines()), image_id)
  photo = RecordedPhoto(
    file=pathlib.Path(),
    place=-1,
    image_id=image_id,
    subject=record["subject"],
    label=record["label"],
    picture=fingerprint(image),
    identity_size=_size(record["identity_coefficients"]),
    expression_size=_size(record["expression_coefficients"]),
    outside_px=_outside(record["landmarks"], record["visibility"]),
  )
  return photo, (_camera_problem(record), image_id)


def _size(values: np.ndarray) -> float:
  return float(np.abs(values).max(initial=0.0))


def _outside(landmarks: np.ndarray, visibility: np.ndarray) -> float:
  seen = landmarks[visibility > 0]
  if not len(seen):
    return -np.inf
  last = np.array([IMAGE_WIDTH - 1, IMAGE_HEIGHT - 1])
  return float(np.maximum(-seen, seen - last).max())


def _camera_problem(record: Mapping[str, Any]) -> str:
  scale, rotation = record["camera_scale"], record["camera_rotation"]
  if not scale > 0:
    return f"expected a camera scale over 0, got {float(scale):g}"
  off = np.abs(rotation @ rotation.T - np.eye(3)).max()
  if off > _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
    return f"expected a camera with a rotation, got one {off:.2g} from any"
  return ""


def _check_photo(
  split: str, index: int, photo: RecordedPhoto, limits: Limits
) -> list[Violation]:
  found = []
  for kind, bad, message in (
    (
      "blank image",
      photo.picture.contrast < limits.min_contrast,
      f"expected grey levels to vary by {limits.min_contrast:g} or more, got"
      f" {photo.picture.contrast:.2f}",
    ),
    (
      "coefficients",
      photo.identity_size > limits.max_coefficient,
      f"expected identity coefficients within {limits.max_coefficient:g}"
      f" standard deviations, got {photo.identity_size:.4g}",
    ),
    (
      "coefficients",
      photo.expression_size > limits.max_coefficient,
      f"expected expression coefficients within {limits.max_coefficient:g}"
      f" standard deviations, got {photo.expression_size:.4g}",
    ),
    (
      "landmarks",
      photo.outside_px > limits.landmark_margin_px,
      "expected visible landmarks no further outside the crop than"
      f" {limits.landmark_margin_px:g} px, got {photo.outside_px:.1f}",
    ),
  ):
    if bad:
      where = f"{split}/{photo.image_id}"
      found.append(Violation(kind, where, message, ((split, index),)))
  return found
