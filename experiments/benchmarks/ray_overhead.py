"""The photo stages by the local engine and by Ray, on one machine in turn."""

from collections.abc import Callable, Sequence
import dataclasses
import os
import pathlib
import statistics
import tempfile
import time

from data_prep.faces.alignment import align_faces
from data_prep.faces.detection import detect_faces, mtcnn_source
from data_prep.faces.dlib_locator import DlibLocator
from data_prep.faces.location import locate_landmarks, rows_of_stage
from data_prep.photos.photo_sets import list_photos
from data_prep.stages.engine import LOCAL, Engine
from data_prep.stages.ray_engine import RayEngine, address_of, connected
from disentangle3d.reporting.html_page import Row, Table


@dataclasses.dataclass(frozen=True)
class EngineTimes:
  """What a stage took by either engine.

  Attributes:
    stage: The binary.
    photos: How many.
    local_s: Each round.
    ray_s: Each round, with its worker's start.
    same: Whether both wrote the same bytes.
  """

  stage: str
  photos: int
  local_s: Sequence[float]
  ray_s: Sequence[float]
  same: bool


def measure_engines(
  photos: str, *, num_photos: int, rounds: int
) -> list[EngineTimes]:
  """Runs detect, locate and align by either engine, in turn.

  Args:
    photos: A set.
    num_photos: How many of it.
    rounds: How often.
  """
  chosen = list_photos(photos)[:num_photos]
  source, locator = mtcnn_source(), DlibLocator()
  shard = max(1, len(chosen) // 16)
  stages: dict[str, Callable[[pathlib.Path, Engine], object]] = {
    "detect_faces": lambda folder, engine: detect_faces(
      chosen,
      folder / "detect_faces",
      source,
      photos_per_shard=shard,
      engine=engine,
    ),
    "locate_landmarks": lambda folder, engine: locate_landmarks(
      rows_of_stage(folder / "detect_faces"),
      folder / "locate_landmarks",
      locator,
      engine=engine,
    ),
    "align_faces": lambda folder, engine: align_faces(
      folder / "locate_landmarks", folder / "align_faces", engine=engine
    ),
  }
  times: dict[str, tuple[list[float], list[float]]] = {
    stage: ([], []) for stage in stages
  }
  with tempfile.TemporaryDirectory() as scratch, connected(None) as ray:
    ray_engine = RayEngine(address_of(ray), worker_cpus=os.cpu_count() or 1)
    engines: Sequence[Engine] = (LOCAL, ray_engine)
    folders: list[pathlib.Path] = []
    # The first round warms both up.
    for number in range(rounds + 1):
      folders = [
        pathlib.Path(scratch) / f"{number}" / name for name in ("local", "ray")
      ]
      for stage, run in stages.items():
        for place, engine in enumerate(engines):
          start = time.perf_counter()
          run(folders[place], engine)
          if number:
            times[stage][place].append(time.perf_counter() - start)
    same = {stage: _alike(*(f / stage for f in folders)) for stage in stages}
  return [
    EngineTimes(stage, len(chosen), *times[stage], same=same[stage])
    for stage in stages
  ]


def _alike(one: pathlib.Path, other: pathlib.Path) -> bool:
  def content(folder: pathlib.Path) -> dict[str, bytes]:
    return {
      path.relative_to(folder).as_posix(): path.read_bytes()
      for path in folder.rglob("*")
      if path.is_file()
    }

  return content(one) == content(other)


def overhead_table(times: Sequence[EngineTimes]) -> Table:
  """A line a stage, and one of all."""

  def line(name: str, local_s: float, ray_s: float, photos: int) -> Row:
    return (
      *(name, f"{photos / local_s:.1f}", f"{photos / ray_s:.1f}"),
      f"{ray_s / local_s - 1:+.1%}",
    )

  medians = [
    (statistics.median(one.local_s), statistics.median(one.ray_s))
    for one in times
  ]
  rows = [
    (*line(one.stage, *both, one.photos), "yes" if one.same else "no")
    for one, both in zip(times, medians, strict=True)
  ]
  local_s, ray_s = map(sum, zip(*medians, strict=True))
  everything = line("all", local_s, ray_s, times[0].photos)
  return Table(
    ("stage", "local, photos/s", "Ray, photos/s", "more time", "same bytes"),
    [*rows, (*everything, "yes" if all(t.same for t in times) else "no")],
    text_columns=(0, 4),
    caption="Medians; a worker's start is in Ray's time.",
  )
