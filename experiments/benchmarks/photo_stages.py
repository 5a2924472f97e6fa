"""The stages from photos to a dataset, timed one by one."""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib
import tempfile

from absl import logging
import numpy as np
from PIL import Image

from data_prep.datasets.building import build_dataset
from data_prep.faces.alignment import align_faces
from data_prep.faces.detection import detect_faces, mtcnn_source
from data_prep.faces.dlib_locator import DlibLocator
from data_prep.faces.location import locate_landmarks, rows_of_stage
from data_prep.faces.mtcnn.detector import Settings
from data_prep.fitting.shards import FitSettings
from data_prep.fitting.stage import fit_faces
from data_prep.photos.photo_sets import Photo, list_photos
from data_prep.stages.about import read_licences, write_about
from data_prep.stages.folder import Share
from data_prep.stages.rows import manifest_path, read_rows, write_manifest
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.reporting.html_page import Row, Table
from experiments.benchmarks.standard_photos import astronauts
from experiments.benchmarks.timing import Timing, time_calls

_HEAD, _WHOLE = 250, 512

CASIA_NUM_PHOTOS = 494_414


_PHOTOS_A_PERSON = 8


@dataclasses.dataclass(frozen=True)
class StageTime:
  """What a stage took.

  Attributes:
    stage: The binary.
    photos: How many it was given.
    timing: Of its runs.
  """

  stage: str
  photos: int
  timing: Timing


def time_runs(
  stage: str,
  photos: int,
  run: Callable[[pathlib.Path], object],
  scratch: pathlib.Path,
  rounds: int,
) -> tuple[StageTime, pathlib.Path]:
  """Runs a stage once to warm up and then `rounds` times.

  Args:
    stage: Its name.
    photos: How many it is given.
    run: Writes the folder that it is called with.
    scratch: For the folders.
    rounds: How often.

  Returns:
    The times, and the folder of the last run.
  """
  outputs: list[pathlib.Path] = []

  def once() -> None:
    outputs.append(scratch / f"{stage}-{len(outputs)}")
    run(outputs[-1])

  timing = time_calls(once, rounds=rounds)
  return StageTime(stage, photos, timing), outputs[-1]


@dataclasses.dataclass
class Timer:
  """Times one stage after the other.

  Attributes:
    scratch: A folder for all they write.
    rounds: See `time_runs`.
    times: Of the stages so far.
  """

  scratch: pathlib.Path
  rounds: int
  times: list[StageTime] = dataclasses.field(default_factory=list)

  def stage(
    self, name: str, photos: int, run: Callable[[pathlib.Path], object]
  ) -> pathlib.Path:
    """Times a stage; what it wrote."""
    times, output = time_runs(name, photos, run, self.scratch, self.rounds)
    self.times.append(times)
    logging.info("%s", times)
    return output


def time_photo_stages(
  timer: Timer, photos: Sequence[Photo], settings: Settings
) -> pathlib.Path:
  """The stages that look at photos; what the last of them wrote."""
  source, locator = mtcnn_source(settings), DlibLocator()
  count = len(photos)
  detected = timer.stage(
    "detect_faces", count, lambda to: detect_faces(photos, to, source)
  )
  faces = rows_of_stage(detected)
  located = timer.stage(
    "locate_landmarks (dlib)",
    count,
    lambda to: locate_landmarks(faces, to, locator),
  )
  return timer.stage("align_faces", count, lambda to: align_faces(located, to))


def time_row_stages(
  timer: Timer, aligned: pathlib.Path, model: MorphableModel, fitted: int
) -> None:
  """The stages whose time does not go with the photos' size."""
  count = repeat_rows(aligned, timer.scratch / "many", fitted)
  # The first machine's half, without the summary, which is drawn once a set.
  half = FitSettings(images_per_shard=count // 2)

  def fit(output: pathlib.Path, index: int = 0) -> None:
    fit_faces(
      timer.scratch / "many",
      model,
      output,
      settings=half,
      share=Share(index, 2),
    )

  made = timer.stage("fit_faces", count // 2, fit)
  fit(made, 1)
  timer.stage(
    "build_dataset", count, lambda to: build_dataset(made, to, heldout="1")
  )


def repeat_rows(aligned: pathlib.Path, output: pathlib.Path, least: int) -> int:
  """Aligned photos again and again under other names; how many there are."""
  rows = read_rows(aligned, aligned=True)
  output.mkdir()
  many = [
    dataclasses.replace(
      row, subject=f"{copy}_{row.subject}", image_id=f"{copy}_{row.image_id}"
    )
    for copy in range(-(-least // len(rows)))
    for row in rows
  ]
  write_manifest(manifest_path(output), many)
  write_about(
    output,
    "align_faces",
    settings={},
    licences=read_licences(aligned),
    counts={},
  )
  return len(many)


def table(title: str, times: Sequence[StageTime]) -> Table:
  """The times, and what CASIA-WebFace would take.

  Args:
    title: Of the set.
    times: Of the stages.
  """

  def line(name: str, photos: int | str, wall: float, cpu: float) -> Row:
    return (
      *(name, photos, f"{1 / wall:,.1f}", f"{cpu / wall:.2f}"),
      *(1e3 * cpu, CASIA_NUM_PHOTOS * wall / 3600),
      CASIA_NUM_PHOTOS * cpu / 3600,
    )

  each = [
    (one.timing.median_s / one.photos, one.timing.median_cpu_s / one.photos)
    for one in times
  ]
  rows = [
    line(one.stage, one.photos, *seconds)
    for one, seconds in zip(times, each, strict=True)
  ]
  wall, cpu = np.sum(each, 0).tolist()
  return Table(
    (
      *("stage", "photos", "photos/s", "cores busy", "core ms a photo"),
      *("CASIA, hours of this process", "CASIA, core hours"),
    ),
    [*rows, line("all", "", wall, cpu)],
    caption=title,
  )


def write_astronauts(
  folder: pathlib.Path, count: int, *, head_only: bool
) -> list[Photo]:
  """JPEG files, a folder a person."""
  for number, image in enumerate(astronauts(count, head_only=head_only)):
    person = folder / f"p{number // _PHOTOS_A_PERSON}"
    person.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(person / f"{number}.jpg", quality=90)
  return list_photos(folder)


def measure(
  model: MorphableModel,
  photos: str | None,
  *,
  num_photos: int,
  settings: Settings,
  rounds: int,
  fitted: int,
) -> dict[str, list[StageTime]]:
  """Times all sets.

  Args:
    model: What is fitted.
    photos: Where more photographs are.
    num_photos: Of a set, at most.
    settings: The detector's.
    rounds: How often each stage runs.
    fitted: Photos for fit and build, about.

  Returns:
    The stages' times by the set's name.
  """
  found: dict[str, list[StageTime]] = {}
  with tempfile.TemporaryDirectory(prefix="stages") as folder:
    scratch = pathlib.Path(folder)

    def written(size: int) -> list[Photo]:
      return write_astronauts(
        scratch / f"photos-{size}", num_photos, head_only=size < _WHOLE
      )

    sets = {f"{size} x {size}": written(size) for size in (_HEAD, _WHOLE)}
    if photos:
      sets[pathlib.Path(photos).name] = list_photos(photos)[:num_photos]
    for number, (title, some) in enumerate(sets.items()):
      timer = Timer(scratch / f"set-{number}", rounds)
      timer.scratch.mkdir()
      aligned = time_photo_stages(timer, some, settings)
      # Once: they would take as long for the others.
      if not number:
        time_row_stages(timer, aligned, model, fitted)
      found[title] = timer.times
  return found
