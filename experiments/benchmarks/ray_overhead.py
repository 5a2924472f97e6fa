"""Photographs to a dataset by the local engine and by Ray, in turn."""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

from data_prep.datasets.preparation import STAGES
from data_prep.photos.photo_sets import list_photos, read_encoded
from data_prep.stages.ray_engine import STARTED
from disentangle3d.faces.morphable_model import save_morphable_model
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.output_files import replace_file
from disentangle3d.reporting.html_page import Table
from disentangle3d.types import UserError
from experiments.benchmarks.core_time import core_time

# The line of the whole command.
WHOLE = "whole command"
_SECONDS = r"(\d+\.\d) s$"
_TOLD = re.compile(rf"\] (\w+): {_SECONDS}")
_STARTED = re.compile(rf"\] {STARTED.partition(':')[0]}: {_SECONDS}")
_SHARDS = 16


@dataclasses.dataclass(frozen=True)
class EngineTimes:
  """What a stage took by either engine; a list has each round.

  Attributes:
    stage: The binary, or `WHOLE`.
    photos: How many.
    local: From the start of its process to the end.
    ray: Same, with its workers' start; of `WHOLE` with the cluster's.
    same: Whether both wrote the same bytes.
  """

  stage: str
  photos: int
  local: Sequence["Seconds"]
  ray: Sequence["Seconds"]
  same: bool


@dataclasses.dataclass(frozen=True)
class Seconds:
  """What a stage took.

  Attributes:
    wall: By the clock, which other work on the machine makes longer.
    cores: Of all cores, of all processes.
    start: Of `wall`, until the first of Ray's workers had its models.
  """

  wall: float
  cores: float
  start: float = 0.0


def measure_engines(
  photos: str,
  *,
  num_photos: int,
  rounds: int,
  worker_cpus: int,
  morphable_model: str | None = None,
) -> list[EngineTimes]:
  """Runs prepare_dataset by either engine, in turn.

  Args:
    photos: A set.
    num_photos: How many of it.
    rounds: How often. The first may compile what later ones find, so that of
      three the median is one that compiled nothing.
    worker_cpus: How many cores one of Ray's workers has.
    morphable_model: What is fitted; None takes the procedural model.
  """
  ray = ("--engine=ray", f"--worker_cpus={worker_cpus}")
  engines: Mapping[str, Sequence[str]] = {"local": (), "ray": ray}
  times: dict[str, list[dict[str, Seconds]]] = {name: [] for name in engines}
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)
    count = _copy_photos(photos, folder / "photos", num_photos)
    model = morphable_model or str(folder / "model.npz")
    if not morphable_model:
      save_morphable_model(folder / "model.npz", procedural_face_model())
    for number in range(rounds):
      for name, flags in engines.items():
        times[name].append(
          _prepare(
            f"--photos={folder / 'photos'}",
            f"--morphable_model={model}",
            f"--output={folder / name / str(number)}",
            "--heldout_people=1",
            f"--set=detect_faces.photos_per_shard={max(1, count // _SHARDS)}",
            *flags,
          )
        )
    last = [folder / name / str(rounds - 1) for name in engines]
    same = {stage: _alike(*(f / sub for f in last)) for stage, sub, _ in STAGES}
  same[WHOLE] = all(same.values())
  return [
    EngineTimes(
      stage,
      count,
      local=[run[stage] for run in times["local"]],
      ray=[run[stage] for run in times["ray"]],
      same=same[stage],
    )
    for stage in same
  ]


def _copy_photos(photos: str, folder: pathlib.Path, most: int) -> int:
  """Writes the first of a set into a folder, and says how many there are."""
  chosen = list_photos(photos)[:most]
  for number, photo in enumerate(chosen):
    place = folder / photo.subject / f"{number:06d}"
    place.parent.mkdir(parents=True, exist_ok=True)
    replace_file(
      place.with_suffix(photo.path.suffix or ".jpg"), read_encoded(photo.path)
    )
  return len(chosen)


def _prepare(*flags: str) -> dict[str, Seconds]:
  """What each stage of a run took, and the whole."""
  begun, lines = time.perf_counter(), collections.deque[str](maxlen=1)
  with (
    core_time() as cores,
    subprocess.Popen(
      [sys.executable, "-m", "data_prep.prepare_dataset", *flags],
      env=os.environ | cores.environment,
      stderr=subprocess.PIPE,
      text=True,
    ) as process,
  ):
    told = told_seconds(_kept(process.stderr or (), lines), cores.seconds)
  whole = Seconds(
    time.perf_counter() - begun,
    cores.seconds(),
    sum(one.start for one in told.values()),
  )
  if process.returncode:
    raise UserError(f"prepare_dataset: {''.join(lines).strip()}")
  return told | {WHOLE: whole}


def _kept(lines: Iterable[str], last: collections.deque[str]) -> Iterator[str]:
  """The same lines, of which the last is kept."""
  for line in lines:
    last.append(line)
    yield line


def told_seconds(
  log: Iterable[str], cores: Callable[[], float]
) -> dict[str, Seconds]:
  """What each stage took.

  Args:
    log: The lines of prepare_dataset and its stages, as they come.
    cores: Says how many core seconds all have taken so far.
  """
  names = {stage for stage, *_ in STAGES}
  told: dict[str, Seconds] = {}
  start, before = 0.0, 0.0
  for line in log:
    if begun := _STARTED.search(line):
      start = float(begun[1])
    elif (ended := _TOLD.search(line)) and ended[1] in names:
      now = cores()
      told[ended[1]] = Seconds(float(ended[2]), now - before, start)
      start, before = 0.0, now
  return told


def _alike(one: pathlib.Path, other: pathlib.Path) -> bool:
  def content(folder: pathlib.Path) -> dict[str, bytes]:
    return {
      path.relative_to(folder).as_posix(): path.read_bytes()
      for path in folder.rglob("*")
      if path.is_file()
    }

  return content(one) == content(other)


def overhead_table(times: Sequence[EngineTimes]) -> Table:
  """A line a stage, and one of the whole command."""

  def more(one: EngineTimes, name: str) -> tuple[str, str, str]:
    local, ray = (
      statistics.median(getattr(seconds, name) for seconds in rounds)
      for rounds in (one.local, one.ray)
    )
    return f"{local:.1f}", f"{ray:.1f}", f"{ray / local - 1:+.0%}"

  return Table(
    (
      *("stage", "local, core s", "Ray, core s", "more"),
      *("local, s", "Ray, s", "more", "until a worker, s", "same bytes"),
    ),
    [
      (
        *(one.stage, *more(one, "cores"), *more(one, "wall")),
        f"{statistics.median(seconds.start for seconds in one.ray):.1f}",
        "yes" if one.same else "no",
      )
      for one in times
    ],
    text_columns=(0, 8),
    caption=f"{times[0].photos} photographs, medians; from the start of each"
    " process to its end. Other work on the machine makes seconds longer, core"
    " seconds hardly.",
  )
