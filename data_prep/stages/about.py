"""`about.json`: what a stage's whole folder shares."""

from collections.abc import Callable, Mapping, Sequence
import json
import os
import types
from typing import Any

from disentangle3d.input_files import existing_file
from disentangle3d.output_files import replace_file
from disentangle3d.stores import as_path
from disentangle3d.types import UserError

ABOUT = "about.json"
_PASSED_OVER = "passed_over"


def write_about(
  folder: str | os.PathLike[str],
  stage: str,
  *,
  settings: Mapping[str, Any],
  licences: Mapping[str, str],
  counts: Mapping[str, int],
  stages_before: Sequence[Mapping[str, Any]] = (),
  passed_over: Mapping[str, int] = types.MappingProxyType({}),
) -> None:
  """Writes about.json.

  Args:
    folder: The stage's folder.
    stage: The binary's name.
    settings: Its options, JSON values.
    licences: Terms of everything that went in, by name; those of the stages
      before included.
    counts: How many photos are ok, how many rejected for which reason.
    stages_before: From `read_stages` of the folder that was read.
    passed_over: How many files beside the photos were not taken, by kind.
  """
  about = {
    "stage": stage,
    "settings": dict(settings),
    "licences": dict(licences),
    "counts": dict(counts),
    "stages_before": [dict(before) for before in stages_before],
  }
  if passed_over:
    about[_PASSED_OVER] = dict(passed_over)
  text = json.dumps(about, indent=2, sort_keys=True) + "\n"
  replace_file(as_path(folder) / ABOUT, text)


def read_licences(folder: str | os.PathLike[str]) -> dict[str, str]:
  """The licences that a stage's about.json passes on.

  Raises:
    UserFileNotFoundError: There is no about.json.
    UserError: It is not one; names file and problem.
  """
  return _read(
    folder,
    "licences by name",
    lambda about: {
      str(name): str(terms) for name, terms in about["licences"].items()
    },
  )


def read_stages(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """The stages that led to a folder, its own last.

  Each has `stage` and `settings`; the one that found the photos may have
  `passed_over`.

  Raises:
    UserFileNotFoundError: There is no about.json.
    UserError: It is not one; names file and problem.
  """

  def stages(about: Any) -> list[dict[str, Any]]:
    return [
      {"stage": str(one["stage"])}
      | {
        name: dict(one[name])
        for name in ("settings", _PASSED_OVER)
        if name == "settings" or name in one
      }
      for one in (*about.get("stages_before", ()), about)
    ]

  return _read(folder, "stage and settings", stages)


def read_passed_over(folder: str | os.PathLike[str]) -> dict[str, int]:
  """How many files were not taken, by kind, when the photos were found.

  Raises:
    UserFileNotFoundError: There is no about.json.
    UserError: It is not one; names file and problem.
  """
  found = [stage.get(_PASSED_OVER, {}) for stage in read_stages(folder)]
  return {kind: int(count) for one in found for kind, count in one.items()}


def read_counts(folder: str | os.PathLike[str]) -> dict[str, int]:
  """How many photos a stage's folder has of each kind.

  Returns:
    By kind, as `rows.count_rows`; empty until every shard is there.

  Raises:
    UserError: Its about.json is no such file.
  """
  if not (as_path(folder) / ABOUT).is_file():
    return {}
  return _read(
    folder,
    "counts",
    lambda about: {
      str(kind): int(count) for kind, count in about["counts"].items()
    },
  )


def read_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
  """What a stage's folder was begun with; nothing where there is none.

  Raises:
    UserError: Its about.json is no such file.
  """
  if not (as_path(folder) / ABOUT).is_file():
    return {}
  return _read(folder, "settings", lambda about: dict(about["settings"]))


def _read(
  folder: str | os.PathLike[str], what: str, read: Callable[[Any], Any]
) -> Any:
  path = existing_file(as_path(folder) / ABOUT)
  try:
    return read(json.loads(path.read_text("utf-8")))
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f"{path}: expected an object with {what}, got something else ({error})"
    ) from error
