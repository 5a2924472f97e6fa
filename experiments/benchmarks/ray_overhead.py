"""Photographs to a dataset by the local engine and by Ray, in turn."""

from collections.abc import Mapping, Sequence
import dataclasses
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
from disentangle3d.reporting.html_page import Row, Table
from disentangle3d.types import UserError

# The line of the whole command.
WHOLE = "whole command"
_SECONDS = r"(\d+\.\d) s$"
_TOLD = re.compile(rf"\] (\w+): {_SECONDS}")
_STARTED = re.compile(rf"\] {STARTED.partition(':')[0]}: {_SECONDS}")
_SHARDS = 16


@dataclasses.dataclass(frozen=True)
class EngineTimes:
  """What a stage took by either engine.

  Attributes:
    stage: The binary, or `WHOLE`.
    photos: How many.
    local_s: Each round, from the start of its process to the end.
    ray_s: Same, with its workers' start; of `WHOLE` with the cluster's.
    start_s: What of that went by until the first worker was there.
    same: Whether both wrote the same bytes.
  """

  stage: str
  photos: int
  local_s: Sequence[float]
  ray_s: Sequence[float]
  start_s: Sequence[float]
  same: bool


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
  times: dict[str, list[RunSeconds]] = {name: [] for name in engines}
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
      local_s=[run.stages[stage] for run in times["local"]],
      ray_s=[run.stages[stage] for run in times["ray"]],
      start_s=[run.starts.get(stage, 0.0) for run in times["ray"]],
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


@dataclasses.dataclass(frozen=True)
class RunSeconds:
  """What each stage of a run took, and of it its workers' start; by name."""

  stages: dict[str, float]
  starts: dict[str, float]


def _prepare(*flags: str) -> RunSeconds:
  """Seconds of each stage of a run, and of the whole."""
  start = time.perf_counter()
  done = subprocess.run(
    [sys.executable, "-m", "data_prep.prepare_dataset", *flags],
    stderr=subprocess.PIPE,
    text=True,
    check=False,
  )
  seconds = time.perf_counter() - start
  if done.returncode:
    raise UserError(f"prepare_dataset: {done.stderr.strip().splitlines()[-1]}")
  told = told_seconds(done.stderr)
  told.stages[WHOLE] = seconds
  told.starts[WHOLE] = sum(told.starts.values())
  return told


def told_seconds(log: str) -> RunSeconds:
  """What each stage took, by what prepare_dataset and its stages log."""
  names = {stage for stage, *_ in STAGES}
  told, start = RunSeconds({}, {}), 0.0
  for line in log.splitlines():
    if started := _STARTED.search(line):
      start = float(started[1])
    elif (ended := _TOLD.search(line)) and ended[1] in names:
      told.stages[ended[1]], told.starts[ended[1]] = float(ended[2]), start
      start = 0.0
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

  def line(one: EngineTimes) -> Row:
    local_s, ray_s, start_s = map(
      statistics.median, (one.local_s, one.ray_s, one.start_s)
    )
    return (
      *(one.stage, f"{local_s:.1f}", f"{ray_s:.1f}", f"{start_s:.1f}"),
      *(
        f"{ray_s / local_s - 1:+.1%}",
        f"{(ray_s - start_s) / local_s - 1:+.1%}",
      ),
      "yes" if one.same else "no",
    )

  return Table(
    (
      *("stage", "local, s", "Ray, s", "of it start, s", "more time"),
      *("without the start", "same bytes"),
    ),
    [line(one) for one in times],
    text_columns=(0, 6),
    caption=f"{times[0].photos} photographs, medians; from the start of each"
    " process to its end. The start: until the first worker has its models.",
  )
