"""Reads RecordIO face sets (`.rec`, `.idx`), as insightface and im2rec write.

Little-endian throughout. The `.rec` is a row of parts:

    u32 magic 0xced7230a
    u32 length in the lower 29 bits, and above them 0 for a whole record or
        1, 2, 3 for the first, a middle, the last part of a split one
    the bytes, padded to a multiple of 4

A record is split where its bytes hold the magic (which is left out there).
Its first 24 bytes are flag u32, label f32, id u64, id2 u64; where the flag is
above 0, that many f32 labels follow in place of the one. The rest is the
encoded image. The `.idx` has a line "key<TAB>byte offset" a record.

insightface's record 0 is no image: its labels are the key of the first record
that describes a person, and the last such key + 1; the images are records 1 to
the first of these. Files of im2rec have images only.

Beside the `.rec` there may be `.lst` (names) and `property` ("classes,height,
width"); where they are, they must agree with it.
"""

import bisect
from collections.abc import Iterator, Mapping, Sequence
import os
import pathlib
import struct

import numpy as np

from data_prep.files.text_files import parse_numbers, read_text
from disentangle3d.input_files import existing_file
from disentangle3d.stores import read_range, read_ranges
from disentangle3d.types import UserError, UserFileNotFoundError

_MAGIC = struct.pack("<I", 0xCED7230A)
_LENGTH_BITS = 29
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_HEADER = struct.Struct("<IfQQ")
_MOST_LABELS = 1 << 16
# An insightface image has one or two labels.
_HEAD_BYTES = 8 + _HEADER.size + 8
_AT_ONCE = 4096
# As in archives: no photo is larger.
_MOST_BYTES = 1 << 28


class RecordFile:
  """Random access to the records of one `.rec`.

  Holds no open file, so it may be used from several threads and processes.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    """Reads the index.

    Args:
      path: The `.rec`; its `.idx` must lie beside it.

    Raises:
      UserFileNotFoundError: One of the two is missing.
      UserError: The index is malformed; names file, line and problem.
    """
    self.path = existing_file(path)
    self._size = self.path.stat().st_size
    self._offsets = _read_index(self.path.with_suffix(".idx"))
    self._edges = sorted({*self._offsets.values(), self._size})

  def photo_labels(self) -> dict[int, int]:
    """The label of every photo, by its record's key.

    Raises:
      UserError: A record is broken, or disagrees with `property`; names file,
        record and byte offset.
    """
    keys = self._photo_keys()
    classes = _read_num_classes(self.path.with_name("property"))
    found = {}
    for key, head in self._heads(keys):
      labels, _ = self._open_record(key, head)
      label = float(labels[0])
      if not (label.is_integer() and 0 <= label < classes):
        raise self._error(
          key,
          f"expected a whole label from 0 to below {classes:.0f}, got {label}",
        )
      found[key] = int(label)
    if not found:
      raise UserError(f"{self.path}: expected photos of people, found none")
    return found

  def read(self, name: str) -> bytes:
    """The encoded image of the record with the key `name`.

    Raises:
      UserFileNotFoundError: There is no such record.
      UserError: The record is broken; names file, record and byte offset.
    """
    if not (name.isascii() and name.isdecimal()) or (
      int(name) not in self._offsets
    ):
      raise UserFileNotFoundError(f"{self.path}::{name}: no such record")
    return self._open_record(int(name))[1]

  def _photo_keys(self) -> list[int]:
    keys = sorted(self._offsets)
    if keys[0] != 0:
      return keys
    labels, image = self._open_record(0)
    if image or len(labels) < 2:
      return keys
    first_person = float(labels[0])
    if not (first_person.is_integer() and first_person >= 1):
      raise self._error(
        0, f"expected the key of the first person, got {first_person}"
      )
    if first_person - 1 > len(keys):
      raise self._error(
        0,
        f"expected at most {len(keys)} records, as the index has, got"
        f" {first_person - 1:.0f} photos",
      )
    wanted = range(1, int(first_person))
    for key in wanted:
      if key not in self._offsets:
        raise self._error(
          0, f"expected records 1 to {wanted[-1]}, got none with key {key}"
        )
    return list(wanted)

  def _heads(self, keys: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """The first bytes of records, which have the labels of most."""
    for first in range(0, len(keys), _AT_ONCE):
      some = keys[first : first + _AT_ONCE]
      starts = [self._offsets[key] for key in some]
      sizes = [min(self._room(start), _HEAD_BYTES) for start in starts]
      ranges = zip(starts, sizes, strict=True)
      yield from zip(some, read_ranges(self.path, [*ranges]), strict=True)

  def _open_record(
    self, key: int, head: bytes | None = None
  ) -> tuple[np.ndarray, bytes]:
    """Labels and image; of a head that is given, the image is cut off."""
    content = self._payload(key, head)
    if len(content) < _HEADER.size:
      raise self._error(
        key, f"expected a header of {_HEADER.size} bytes, got {len(content)}"
      )
    flag, label, _, _ = _HEADER.unpack_from(content)
    end = _HEADER.size + 4 * flag
    if flag > _MOST_LABELS:
      raise self._error(
        key, f"expected at most {_MOST_LABELS} labels, got {flag}"
      )
    if end > len(content) and head is not None:
      return self._open_record(key)
    if end > len(content):
      raise self._error(
        key, f"expected {flag} labels, got {len(content)} bytes in all"
      )
    labels = np.array([label], np.float32)
    if flag:
      labels = np.frombuffer(content, "<f4", flag, _HEADER.size)
    return labels, content[end:]

  def _payload(self, key: int, head: bytes | None) -> bytes:
    """A record's bytes; of a head that is given, its own if it is whole."""
    start, offset = self._offsets[key], 0
    size = self._room(start)
    content = read_range(self.path, start, size) if head is None else head
    parts: list[bytes] = []
    while True:
      kind, length = self._part(key, content, offset, size, bool(parts))
      if head is not None and kind != _WHOLE:
        return self._payload(key, None)
      offset += 8
      parts.append(content[offset : offset + length])
      if kind in (_WHOLE, _LAST):
        return _MAGIC.join(parts)
      offset += (length + 3) // 4 * 4

  def _part(
    self, key: int, content: bytes, offset: int, size: int, follows: bool
  ) -> tuple[int, int]:
    """Kind and length of the part of a record that begins at an offset."""
    at = self._offsets[key] + offset
    head = content[offset : offset + 8]
    if len(head) < 8 or head[:4] != _MAGIC:
      raise self._error(
        key,
        f"expected the magic ced7230a and a length, got"
        f" {head.hex() or 'the end of the file'}",
        at,
      )
    word = struct.unpack("<I", head[4:])[0]
    kind, length = word >> _LENGTH_BITS, word & ((1 << _LENGTH_BITS) - 1)
    expected = (_MIDDLE, _LAST) if follows else (_WHOLE, _FIRST)
    if kind not in expected:
      raise self._error(
        key,
        f"expected a part of kind {expected[0]} or {expected[1]}, got {kind}",
        at,
      )
    left = size - offset - 8
    if length > left:
      raise self._error(
        key, f"expected {length} bytes, got {left} to the record's end", at
      )
    return kind, length

  def _room(self, start: int) -> int:
    """How many bytes are a record's, to where the next begins."""
    after = bisect.bisect_right(self._edges, start)
    end = self._edges[after] if after < len(self._edges) else start
    return min(end, max(self._size, start), start + _MOST_BYTES) - start

  def _error(
    self, key: int, problem: str, offset: int | None = None
  ) -> UserError:
    at = self._offsets[key] if offset is None else offset
    return UserError(f"{self.path}::{key}: broken record: byte {at}: {problem}")


def read_names(
  path: str | os.PathLike[str], labels: Mapping[int, int]
) -> dict[int, str]:
  """The subject of each record, from the `.lst` that it was packed by.

  Args:
    path: Either insightface's, "aligned<TAB>path<TAB>label" with record k in
      line k; or im2rec's, "key<TAB>labels<TAB>path". The photo's folder is its
      subject.
    labels: What the records themselves say, by key.

  Returns:
    One name for every key of `labels`.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: The file is malformed, lacks a record or has another label for
      it, or one name stands for two labels; names file, line and problem.
  """
  names: dict[int, str] = {}
  owner: dict[str, int] = {}
  for number, line in enumerate(read_text(path).splitlines(), start=1):
    here = f"{path}, line {number}"
    fields = line.split("\t")
    if len(fields) < 3:
      raise UserError(
        f"{here}: expected 3 fields between tabs, got {len(fields)}"
      )
    if _is_number(fields[-1]):
      key, name, label = number, fields[1], fields[2]
    else:
      key, name, label = -1, fields[-1], fields[1]
      if fields[0].isascii() and fields[0].isdecimal():
        key = int(fields[0])
    if key not in labels:
      continue
    if parse_numbers([label], 1, here)[0] != labels[key]:
      raise UserError(
        f"{here}: expected label {labels[key]}, as record {key} has, got"
        f" {label!r} (without a .lst the labels are the names)"
      )
    subject = pathlib.PurePosixPath(name.replace("\\", "/")).parent.name
    if not subject or subject == "..":
      raise UserError(f"{here}: expected a folder a person, got {name!r}")
    if owner.setdefault(subject, labels[key]) != labels[key]:
      raise UserError(
        f"{here}: {subject!r} has label {labels[key]}, and {owner[subject]}"
        " before"
      )
    names[key] = subject
  for key in labels:
    if key not in names:
      raise UserError(f"{path}: expected a line for record {key}, found none")
  return names


def _is_number(text: str) -> bool:
  try:
    float(text)
  except ValueError:
    return False
  return True


def _read_index(path: pathlib.Path) -> dict[int, int]:
  offsets: dict[int, int] = {}
  for number, line in enumerate(read_text(path).splitlines(), start=1):
    words = line.split()
    if len(words) != 2 or not all(
      word.isascii() and word.isdecimal() for word in words
    ):
      raise UserError(
        f"{path}, line {number}: expected a key and a byte offset, got"
        f" {line[:40]!r}"
      )
    offsets[int(words[0])] = int(words[1])
  if not offsets:
    raise UserError(f"{path}: expected a line a record, found none")
  return offsets


def _read_num_classes(path: pathlib.Path) -> float:
  """What `property` says; without one any number will do."""
  if not path.is_file():
    return float("inf")
  words = read_text(path).strip().split(",")
  classes = parse_numbers(words, 3, str(path))[0]
  if classes < 1:
    raise UserError(f"{path}: expected at least one class, got {classes:.0f}")
  return float(classes)
