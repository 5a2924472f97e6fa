"""Input that is there and whole, or an error that says which file is not."""

from collections.abc import Collection
import json
import os
import pathlib
from typing import Any
import zipfile
import zlib

import numpy as np

from disentangle3d.stores import as_path
from disentangle3d.types import UserError, UserFileNotFoundError


def existing_file(
  path: str | os.PathLike[str], *, otherwise: str = ""
) -> pathlib.Path:
  """The path of a file, which must be there.

  Args:
    path: The file.
    otherwise: Ends the message where it is not: how to come by it.

  Raises:
    UserFileNotFoundError: There is no such file, or it is a folder.
  """
  path = as_path(path)
  if path.is_dir():
    raise UserFileNotFoundError(f"{path}: expected a file, got a folder")
  if not path.is_file():
    raise UserFileNotFoundError(f"{path}: no such file{otherwise}")
  return path


def existing_folder(
  path: str | os.PathLike[str], *, otherwise: str = ""
) -> pathlib.Path:
  """The path of a folder, which must be there.

  Args:
    path: The folder.
    otherwise: Ends the message where it is not: how to come by it.

  Raises:
    UserFileNotFoundError: There is no such folder, or it is a file.
  """
  path = as_path(path)
  if path.is_file():
    raise UserFileNotFoundError(f"{path}: expected a folder, got a file")
  if not path.is_dir():
    raise UserFileNotFoundError(f"{path}: no such folder{otherwise}")
  return path


def read_npz(
  path: str | os.PathLike[str],
  what: str,
  *,
  names: Collection[str] = (),
  otherwise: str = "",
) -> dict[str, Any]:
  """The arrays of an `.npz` by name; nothing in it is unpickled.

  Args:
    path: The file.
    what: What it should be, for the errors.
    names: Arrays that must be there.
    otherwise: As of `existing_file`.

  Raises:
    UserFileNotFoundError: There is no such file.
    UserError: It cannot be read as one, or an array is missing.
  """
  path = existing_file(path, otherwise=otherwise)
  try:
    # numpy leaves a file open that it opened itself and cannot read.
    with path.open("rb") as stream:
      if not zipfile.is_zipfile(stream):
        raise UserError(f"{path}: expected {what}, got another file")
      stream.seek(0)
      with np.load(stream, allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
  except UserError:
    raise
  except (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,  # of zipfile: encrypted, or of a later version
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise UserError(
      f"{path}: expected {what}, got a file that cannot be read as one"
      f" ({error})"
    ) from error
  missing = sorted(set(names) - content.keys())
  if missing:
    raise UserError(
      f"{path}: expected {what}, got one without {', '.join(missing)}"
    )
  return content


def stored_texts(name: str, array: np.ndarray) -> dict[str, Any]:
  """The texts by name that an `.npz` holds as JSON in one of its arrays.

  Args:
    name: The array's, for the error.
    array: A text, or its UTF-8 bytes, as some programs write texts.

  Raises:
    ValueError: It is no JSON object.
  """
  text = array.item() if array.size == 1 else None
  try:
    found = json.loads(text) if isinstance(text, str | bytes) else None
  except ValueError:
    found = None
  if not isinstance(found, dict):
    raise ValueError(f"{name}: expected a JSON object as text, got another")
  return found
