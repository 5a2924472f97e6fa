"""What the data stages hand to each other: rows of photos, in shards.

A stage writes one folder and reads the folder of the stage before it:

    detected/ manifest-00000-of-00001.jsonl  about.json           detect_faces
    located/  manifest-*.jsonl  about.json                    locate_landmarks
    aligned/  manifest-*.jsonl  about.json  crops/<image_id>.png   align_faces
    fitted/   manifest-*.jsonl  about.json  fits-*.npz
              morphable_model.npz                                  fit_faces

A manifest shard is JSON lines, one `PhotoRow` a line, in any order; every
photo that was looked at has a row in every stage, the unusable ones with
status "rejected" and the reason. Points are in photo pixels (x right, y down, a
pixel's centre at integer coordinates); `crop_from_photo` takes them to the
crop. Paths are stored relative to the manifest's folder, so that the folders
may be moved together, and are absolute in memory.

Crops are PNG files beside the manifest of `align_faces`; later manifests point
back at them. Fitted coefficients are one `fits-*.npz` a manifest shard
(`fit_files.py`), its entries found by image_id, with the model they belong to
beside it. `about.json` (`about.py`) holds what the whole folder shares.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import json
import os
import pathlib
import re
from typing import Any, Literal

from jaxtyping import Float
import numpy as np

from disentangle3d.input_files import existing_file, existing_folder
from disentangle3d.output_files import replace_file
from disentangle3d.stores import as_path, joined, relative
from disentangle3d.types import (
  NUM_CONTOUR,
  NUM_LANDMARKS,
  UserError,
  UserFileNotFoundError,
)

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.jsonl$")
_POINTS = {
  "box": (4,),
  "five_points": (5, 2),
  "landmarks": (NUM_LANDMARKS, 2),
  "visibility": (NUM_LANDMARKS,),
  "crop_from_photo": (2, 3),
  "spread": (NUM_LANDMARKS,),
  "silhouette": (NUM_CONTOUR, 2),
  "disagreement": (),
}
# Where it is known; manifests of before have no such keys.
_OPTIONAL = ("spread", "silhouette", "disagreement")
_TEXTS = ("subject", "image_id", "detector", "status", "reason")
_PATHS = ("image_path", "crop_path")
_DETECTED = ("box", "five_points")
_LOCATED = (*_DETECTED, "landmarks", "visibility")
_ALIGNED = (*_LOCATED, "crop_from_photo", "crop_path")


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoRow:
  """One photo, as far as the stages have come with it.

  Attributes:
    image_path: The photo.
    subject: Who is in it; one name a person.
    image_id: Names the photo in this and every later file; unique.
    status: "ok", or "rejected" by this stage or one before.
    reason: Why it was rejected; empty for "ok".
    detector: What found the face and the landmarks.
    box: The face's x0, y0, x1, y1, `[4]`, photo pixels.
    five_points: Eyes, nose tip, mouth corners, `[5, 2]`, photo pixels.
    landmarks: iBUG's, `[68, 2]`, photo pixels; from locate_landmarks on.
    visibility: 1 where a landmark may be used, else 0, `[68]`.
    crop_from_photo: crop = matrix [x, y, 1], `[2, 3]`; from align_faces on.
    crop_path: The crop, a PNG; from align_faces on.
    spread: How unsure each landmark is, `[68]`, photo pixels; None where the
      locator does not say (`locators.LocatedFace`, as the next).
    silhouette: The jaw as the photo shows it, `[17, 2]`, photo pixels, where
      the landmarks have the true jaw.
    disagreement: Mean distance of the landmarks' five points, those that the
      face does not hide, to those of the face detector, in roots of the area of
      the landmarks' box, `[]`; None where no detector gave any.
  """

  image_path: pathlib.Path
  subject: str
  image_id: str
  status: Literal["ok", "rejected"]
  reason: str = ""
  detector: str = ""
  box: Float[np.ndarray, "4"] | None = None
  five_points: Float[np.ndarray, "5 2"] | None = None
  landmarks: Float[np.ndarray, "68 2"] | None = None
  visibility: Float[np.ndarray, "68"] | None = None
  crop_from_photo: Float[np.ndarray, "2 3"] | None = None
  crop_path: pathlib.Path | None = None
  spread: Float[np.ndarray, "68"] | None = None
  silhouette: Float[np.ndarray, "17 2"] | None = None
  disagreement: Float[np.ndarray, ""] | None = None

  def rejected(self, reason: str) -> "PhotoRow":
    """The same photo, given up for `reason`."""
    return dataclasses.replace(self, status="rejected", reason=reason)


def manifest_path(
  folder: str | os.PathLike[str], shard: int = 0, num_shards: int = 1
) -> pathlib.Path:
  """The manifest of one shard, e.g. manifest-00000-of-00001.jsonl."""
  return as_path(folder) / f"manifest-{shard:05d}-of-{num_shards:05d}.jsonl"


def list_manifests(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
  """The manifest shards of a stage's folder, in order.

  Raises:
    UserFileNotFoundError: No such folder, or no manifest in it.
    UserError: A shard is missing, or shards of two runs are mixed.
  """
  folder = as_path(folder)
  existing_folder(folder, otherwise="; the data_prep stage before writes it")
  paths = sorted(folder.glob("manifest-*.jsonl"))
  if not paths:
    raise UserFileNotFoundError(
      f"{folder}: expected manifest-*.jsonl as a data_prep stage writes it,"
      " found none"
    )
  found = _SHARD.search(paths[0].name)
  count = int(found.group(2)) if found else 0
  expected = [manifest_path(folder, shard, count) for shard in range(count)]
  for path in expected:
    if path not in paths:
      raise UserError(f"{path}: no such file, but {paths[0].name} is there")
  if paths != expected:
    stray = sorted(set(paths) - set(expected))[0]
    raise UserError(f"{stray}: expected one of {count} shards, got another")
  return paths


def read_rows(
  folder: str | os.PathLike[str],
  *,
  located: bool = False,
  aligned: bool = False,
) -> list[PhotoRow]:
  """Reads all manifest shards of a stage's folder.

  Args:
    folder: What a stage wrote.
    located: Whether "ok" rows must have landmarks.
    aligned: Whether they must have landmarks and their crop.

  Returns:
    The rows, shard after shard.

  Raises:
    UserFileNotFoundError: No such folder, or no manifest in it.
    UserError: Names file, row and problem.
  """
  rows: list[PhotoRow] = []
  seen: dict[str, str] = {}
  for path in list_manifests(folder):
    shard = read_shard_rows(path, located=located, aligned=aligned)
    for number, row in enumerate(shard, start=1):
      here = f"{path}, row {number}"
      if row.image_id in seen:
        raise UserError(
          f"{here}: image_id {row.image_id!r} is already in"
          f" {seen[row.image_id]}"
        )
      seen[row.image_id] = here
      rows.append(row)
  return rows


def read_shard_rows(
  path: str | os.PathLike[str], *, located: bool = False, aligned: bool = False
) -> list[PhotoRow]:
  """Reads one manifest shard.

  Args:
    path: A file that `write_manifest` wrote.
    located: Whether "ok" rows must have landmarks.
    aligned: Whether they must have landmarks and their crop.

  Returns:
    The rows, with absolute paths.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: Names file, row and problem.
  """
  path = existing_file(path)
  rows: list[PhotoRow] = []
  seen: dict[str, int] = {}
  try:
    lines = path.read_text("utf-8").splitlines()
  except UnicodeDecodeError as error:
    raise UserError(f"{path}: expected UTF-8 text, {error.reason}") from error
  for number, line in enumerate(lines, start=1):
    try:
      row = parse_row(line, path.parent, located=located, aligned=aligned)
      if row.image_id in seen:
        raise UserError(
          f"image_id {row.image_id!r} is already in row {seen[row.image_id]}"
        )
    except ValueError as error:
      raise UserError(f"{path}, row {number}: {error}") from error
    seen[row.image_id] = number
    rows.append(row)
  return rows


def parse_row(
  line: str,
  folder: pathlib.Path,
  *,
  located: bool = False,
  aligned: bool = False,
) -> PhotoRow:
  """The row in one line of a manifest that lies in `folder`; see above.

  Raises:
    UserError: The line is not a valid row; says why.
  """
  row = _parse_row(line, folder)
  _check_row(row, _ALIGNED if aligned else _LOCATED if located else _DETECTED)
  return row


def write_manifest(
  path: str | os.PathLike[str], rows: Iterable[PhotoRow]
) -> None:
  """Writes one manifest shard, by a rename at the end.

  Args:
    path: Where to write, usually `manifest_path(...)`; the folder must exist.
    rows: What to write; image ids must differ.

  Raises:
    UserError: A row is not valid; names the image and the problem.
  """
  path = as_path(path)
  lines = []
  seen = set()
  for row in rows:
    try:
      _check_row(row, _DETECTED)
      if row.image_id in seen:
        raise UserError("image_id is already in an earlier row")
    except ValueError as error:
      raise UserError(f"{path}, {row.image_id}: {error}") from error
    seen.add(row.image_id)
    lines.append(json.dumps(_row_to_json(row, path.parent), allow_nan=False))
  replace_file(path, "\n".join(lines) + "\n" * bool(lines))


def count_rows(rows: Sequence[PhotoRow]) -> dict[str, int]:
  """How many rows are "ok", and how many were rejected for which reason."""
  counts = {"ok": sum(row.status == "ok" for row in rows)}
  for row in rows:
    if row.status != "ok":
      # A reason may end in details after a colon; the kind is what counts.
      kind = f"rejected, {row.reason.split(':')[0]}"
      counts[kind] = counts.get(kind, 0) + 1
  return counts


def _parse_row(line: str, folder: pathlib.Path) -> PhotoRow:
  try:
    content = json.loads(line)
  except json.JSONDecodeError as error:
    raise UserError(f"expected a JSON object, {error}") from error
  if not isinstance(content, dict):
    raise UserError(f"expected a JSON object, got {line[:40]!r}")
  names = [field.name for field in dataclasses.fields(PhotoRow)]
  for name in names:
    if name not in content and name not in _OPTIONAL:
      raise UserError(f"expected the key {name}, got none")
  values: dict[str, Any] = {}
  for name in names:
    value = content.get(name)
    if name in _POINTS and value is not None:
      values[name] = _parse_numbers(name, value)
    elif name in _PATHS and value is not None:
      if not isinstance(value, str):
        raise UserError(f"{name}: expected a path, got {value!r}")
      values[name] = joined(folder, value)
    else:
      values[name] = value
  return PhotoRow(**values)


def _parse_numbers(name: str, value: Any) -> np.ndarray:
  try:
    with np.errstate(over="ignore"):
      return np.asarray(value, np.float32)
  except (ValueError, TypeError) as error:
    raise UserError(
      f"{name}: expected numbers {list(_POINTS[name])}, got"
      f" {json.dumps(value)[:40]}"
    ) from error


def _check_row(row: PhotoRow, needed: Sequence[str]) -> None:
  for name in _TEXTS:
    if not isinstance(getattr(row, name), str):
      raise UserError(f"{name}: expected text, got {getattr(row, name)!r}")
  if row.image_path is None:
    raise UserError("image_path: expected a path, got null")
  for name in ("subject", "image_id"):
    if not getattr(row, name):
      raise UserError(f"{name}: expected a name, got an empty one")
  parts = pathlib.PurePosixPath(row.image_id)
  if parts.is_absolute() or ".." in parts.parts:
    raise UserError(f"image_id: expected a relative path, got {row.image_id!r}")
  if row.status not in ("ok", "rejected"):
    raise UserError(f'status: expected "ok" or "rejected", got {row.status!r}')
  if row.status == "rejected" and not row.reason:
    raise UserError("reason: expected why the photo was rejected, got none")
  for name, shape in _POINTS.items():
    value = getattr(row, name)
    if value is None:
      continue
    if np.shape(value) != shape:
      raise UserError(
        f"{name}: expected {list(shape)} numbers, got {list(np.shape(value))}"
      )
    if not np.isfinite(value).all():
      raise UserError(f"{name}: expected finite numbers, got NaN or inf")
  if row.status == "ok":
    for name in needed:
      if getattr(row, name) is None:
        raise UserError(f"{name}: expected a value in an ok row, got null")


def _row_to_json(row: PhotoRow, folder: pathlib.Path) -> dict[str, Any]:
  content: dict[str, Any] = {}
  for field in dataclasses.fields(PhotoRow):
    value = getattr(row, field.name)
    if field.name in _OPTIONAL and value is None:
      continue
    if field.name in _POINTS and value is not None:
      value = _short_numbers(np.asarray(value, np.float32))
    elif field.name in _PATHS and value is not None:
      value = relative(value, folder)
    content[field.name] = value
  return content


def _short_numbers(array: np.ndarray) -> Any:
  """Nested lists whose numbers are the shortest that give float32 back."""
  if array.ndim:
    return [_short_numbers(part) for part in array]
  return float(str(array))
