"""A stage's output folder, filled shard by shard by one machine or by many.

The folder's `about.json` is written first, with all that decides the content:
stage, settings, a digest of the input, the number of shards. Each shard's
manifest is renamed into place when the shard is complete, so what is there is
done: a run that was killed goes on with the shards that are missing, and ends
in the same bytes. Until the first shard is complete, the settings may change.
Machines that share a file system take every n-th shard each (`--shard=i/n`).
Whoever finds all shards there adds the counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import types
from typing import Any

from data_prep.stages.about import ABOUT, write_about
from data_prep.stages.rows import count_rows, manifest_path, read_shard_rows
from disentangle3d.folder_use import is_mark, sole_use
from disentangle3d.types import UserError


@dataclasses.dataclass(frozen=True)
class Share:
  """Which shards are this machine's: index, index + count, ...; 0-based."""

  index: int = 0
  count: int = 1

  def shards(self, num_shards: int) -> range:
    """This machine's part of all shards."""
    return range(self.index, num_shards, self.count)


# One machine does it all.
ALONE = Share()


def parse_share(text: str) -> Share:
  """The share of a flag `--shard=i/n`, i from 0 to n - 1.

  Raises:
    UserError: The text is no such share.
  """
  index, slash, count = text.partition("/")
  if slash and index.isdecimal() and count.isdecimal():
    share = Share(int(index), int(count))
    if share.index < share.count:
      return share
  raise UserError(
    f"--shard: expected i/n with i from 0 to n - 1, e.g. 0/4, got {text!r}"
  )


def digest(parts: Iterable[bytes]) -> str:
  """What stands for the input in `about.json`: SHA-256 over its parts."""
  total = hashlib.sha256()
  for part in parts:
    total.update(hashlib.sha256(part).digest())
  return total.hexdigest()


@dataclasses.dataclass(frozen=True)
class StageFolder:
  """See the module's text; `open_stage` makes one.

  Attributes:
    path: The folder.
    stage: The binary's name.
    num_shards: How many manifests there will be.
    settings: All that decides the content; JSON values.
    licences: Terms of everything that went in, by name.
    stages_before: From `read_stages` of the folder that is read.
    manifest_suffix: ".jsonl" is rows of photos; other stages, other files.
    passed_over: How many files beside the photos were not taken, by kind.
  """

  path: pathlib.Path
  stage: str
  num_shards: int
  settings: Mapping[str, Any]
  licences: Mapping[str, str]
  stages_before: Sequence[Mapping[str, Any]] = ()
  manifest_suffix: str = ".jsonl"
  passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def manifest(self, shard: int) -> pathlib.Path:
    """Where a shard's manifest goes; write it last."""
    rows = manifest_path(self.path, shard, self.num_shards)
    return rows.with_suffix(self.manifest_suffix)

  def pending(self, share: Share) -> list[int]:
    """The shards of a share that are not done, what a kill left removed."""
    missing = [
      shard
      for shard in share.shards(self.num_shards)
      if not self.manifest(shard).is_file()
    ]
    self.remove_leftovers(missing, share)
    return missing

  def remove_leftovers(self, shards: Sequence[int], share: Share) -> None:
    """Removes what killed processes left of some shards."""
    patterns = [f".*-{shard:05d}-of-*.partial" for shard in shards]
    if share == ALONE:
      # Looking into all folders of crops takes its time.
      patterns = ["**/.*.partial" if shards else ".*.partial"]
    for pattern in patterns:
      for leftover in self.path.glob(pattern):
        leftover.unlink(missing_ok=True)

  def is_begun(self) -> bool:
    """Whether any machine's shard is there."""
    return has_shards(self.path)

  def is_complete(self) -> bool:
    """Whether every machine's shards are there."""
    return all(
      self.manifest(shard).is_file() for shard in range(self.num_shards)
    )

  def finish(self) -> dict[str, int]:
    """Adds the counts of all rows to `about.json`; needs all shards."""
    counts: dict[str, int] = {}
    for shard in range(self.num_shards):
      for name, count in count_rows(
        read_shard_rows(self.manifest(shard))
      ).items():
        counts[name] = counts.get(name, 0) + count
    self.record(counts)
    return counts

  def record(self, counts: Mapping[str, int]) -> None:
    """Writes `about.json`; a stage without counts is not done."""
    write_about(
      self.path,
      self.stage,
      settings=self.settings,
      licences=self.licences,
      counts=counts,
      stages_before=self.stages_before,
      passed_over=self.passed_over,
    )


def has_shards(path: pathlib.Path) -> bool:
  """Whether a stage's folder has a whole shard."""
  return any(path.glob("manifest-*-of-*"))


@contextlib.contextmanager
def open_stage(
  path: pathlib.Path,
  stage: str,
  *,
  num_shards: int,
  settings: Mapping[str, Any],
  licences: Mapping[str, str],
  inputs: str,
  share: Share = ALONE,
  stages_before: Sequence[Mapping[str, Any]] = (),
  manifest_suffix: str = ".jsonl",
  passed_over: Mapping[str, int] = types.MappingProxyType({}),
) -> Iterator[StageFolder]:
  """Begins a stage's folder, or goes on with one, and keeps it for itself.

  Args:
    path: The folder; new, empty, or of an earlier run of the same job; of
      another job of this stage where no shard of that is whole.
    stage: The binary's name.
    num_shards: How many manifests there will be.
    settings: Everything else that decides the content; JSON values.
    licences: Terms of everything that went in, by name.
    inputs: From `digest`.
    share: What this machine makes; others may make the rest meanwhile.
    stages_before: From `read_stages` of the folder that is read.
    manifest_suffix: Of the shards' manifests.
    passed_over: See `StageFolder`.

  Yields:
    The folder, its `about.json` written.

  Raises:
    UserError: The folder holds something else, was begun with another input
      or other settings (names the first that differs), or another process
      writes there.
  """
  told = {**settings, "num_shards": num_shards, "input_sha256": inputs}
  folder = StageFolder(
    path,
    stage,
    num_shards,
    told,
    dict(licences),
    stages_before,
    manifest_suffix,
    # Other processes are sent it.
    dict(passed_over),
  )
  with sole_use(path, part=share.index, parts=share.count) as alone:
    if not (path / ABOUT).is_file():
      _check_empty(path, stage)
      folder.record({})
    elif problem := _difference(path / ABOUT, stage, told):
      if has_shards(path) or not alone:
        raise UserError(problem)
      # What an unfinished shard of the other job left.
      for leftover in path.glob("*-?????-of-?????.*"):
        leftover.unlink(missing_ok=True)
      folder.record({})
    yield folder


def _check_empty(path: pathlib.Path, stage: str) -> None:
  for place in path.iterdir():
    if place.name.startswith(f".{ABOUT}."):
      with contextlib.suppress(OSError):
        place.unlink()
    elif not is_mark(place.name):
      raise UserError(
        f"{path}: expected a new or an empty folder, or one that {stage} began,"
        f" got one with files in it and no {ABOUT}"
      )


def _difference(
  path: pathlib.Path, stage: str, settings: Mapping[str, Any]
) -> str:
  """How a folder's job differs from the one asked for; empty: it does not.

  Raises:
    UserError: It is another stage's.
  """
  try:
    about = json.loads(path.read_text("utf-8"))
    begun = {"stage": about["stage"], **about["settings"]}
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"{path}: expected what {stage} wrote when it began, got something else"
      f" ({error})"
    ) from error
  # What JSON makes of tuples and numbers.
  asked = json.loads(json.dumps({"stage": stage, **settings}))
  if asked["stage"] != begun["stage"]:
    raise UserError(
      f"{path.parent}: begun by {begun['stage']}, expected a folder of {stage};"
      " give another folder"
    )
  for name in sorted(asked.keys() | begun.keys()):
    if asked.get(name) == begun.get(name):
      continue
    began, now = f"{name} {begun.get(name)!r}", repr(asked.get(name))
    if name == "input_sha256":
      began, now = "other input (photos or files that it reads)", "this"
    return (
      f"{path.parent}: begun with {began}, expected the same to go on, got"
      f" {now}; give another folder or remove this one"
    )
  return ""
