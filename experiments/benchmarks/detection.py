"""Detection in turn with the package mtcnn under TensorFlow."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import pathlib
import subprocess
import tempfile
from typing import IO, Any, NamedTuple, cast

import numpy as np

from data_prep.faces.mtcnn.detector import Detector, Settings
from data_prep.photos.photo_sets import list_photos, read_photo
from data_prep.photos.resizing import resize_by
from disentangle3d.reporting.html_page import Table
from disentangle3d.types import UserError
from experiments.benchmarks.standard_photos import astronauts
from experiments.benchmarks.timing import time_calls

# Answers each line it reads with what a `Run` holds.
_REFERENCE = """
import json, sys, time
import numpy as np
import mtcnn
path, at_once, factor, least, *thresholds = json.loads(sys.argv[1])
with np.load(path) as file:
  photos = [file[name] for name in sorted(file.files)]
detector = mtcnn.MTCNN()
options = dict(zip(
    ("threshold_pnet", "threshold_rnet", "threshold_onet"), thresholds))
options.update(scale_factor=factor, min_face_size=least)
print("ready", flush=True)
for _ in sys.stdin:
  start, cpu, faces = time.perf_counter(), time.process_time(), 0
  for i in range(0, len(photos), at_once):
    some = photos[i:i + at_once]
    found = detector.detect_faces(some if at_once > 1 else some[0], **options)
    faces += sum(map(len, found)) if at_once > 1 else len(found)
  times = time.perf_counter() - start, time.process_time() - cpu
  print(json.dumps([*times, faces]), flush=True)
"""


_AT_ONCE = (1, 8)


STANDARD_PHOTOS = 16
OURS = "this project"
ANY_SIZES = "photographs of any sizes"


class Run(NamedTuple):
  """What finding the faces of all photos took.

  Attributes:
    wall_s: Seconds.
    cpu_s: Seconds of processor time, all cores.
    faces: How many were found.
  """

  wall_s: float
  cpu_s: float
  faces: int


def run_in_turn(
  photos: Sequence[np.ndarray],
  settings: Settings,
  reference_python: str | None,
  rounds: int,
) -> dict[str, list[Run]]:
  """All rounds, by who found the faces.

  Args:
    photos: Of one size.
    settings: The detector's.
    reference_python: Of an environment with the package; None goes without.
    rounds: How many.
  """
  detector = Detector(settings)
  ours = {OURS: photos, f"{OURS}, {ANY_SIZES}": of_any_sizes(photos)}
  for some in ours.values():
    detector.detect(some)
  results: dict[str, list[Run]] = {}
  with contextlib.ExitStack() as stack:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    path = pathlib.Path(folder) / "photos.npz"
    arrays: dict[str, Any] = {f"{i:06d}": p for i, p in enumerate(photos)}
    np.savez(path, **arrays)
    packages = {
      f"package mtcnn, {at_once} at a time": stack.enter_context(
        _reference(str(reference_python), path, at_once, settings)
      )
      for at_once in (_AT_ONCE if reference_python else ())
    }
    for _ in range(rounds):
      for name, some in ours.items():
        results.setdefault(name, []).append(_run(detector, some))
      for name, process in packages.items():
        results.setdefault(name, []).append(_ask(process))
  return results


def of_any_sizes(photos: Sequence[np.ndarray]) -> list[np.ndarray]:
  """The photos, each of a size of its own, of as many pixels on average."""
  rng = np.random.default_rng(0)
  made = []
  for photo in photos:
    height, width = photo.shape[:2]
    # A part of another shape, from the middle, at another size.
    shape = rng.uniform(0.6, 1.0, 2)
    rows, columns = np.rint(shape * (height, width)).astype(int).tolist()
    top, left = (height - rows) // 2, (width - columns) // 2
    part = photo[top : top + rows, left : left + columns]
    share = rng.uniform(0.5, 1.5) * height * width / (rows * columns)
    made.append(resize_by(part, float(np.sqrt(share)))[0])
  return made


def _run(detector: Detector, photos: Sequence[np.ndarray]) -> Run:
  faces = 0

  def detect() -> None:
    nonlocal faces
    faces = sum(len(found.boxes) for found in detector.detect(photos))

  timing = time_calls(detect, rounds=1, warmup=0)
  return Run(timing.median_s, timing.median_cpu_s, faces)


def table_of(results: Mapping[str, Sequence[Run]], count: int) -> Table:
  """Medians and quartiles of a photo, and the ratios to ours.

  Args:
    results: All rounds, by who found the faces.
    count: Of photos.
  """
  walls, cpus = (
    {
      name: 1e3 / count * np.array([getattr(run, field) for run in runs])
      for name, runs in results.items()
    }
    for field in ("wall_s", "cpu_s")
  )
  ours = np.median(walls[OURS]), np.median(cpus[OURS])
  rows = []
  for name, runs in results.items():
    low, middle, high = np.percentile(walls[name], (25, 50, 75)).tolist()
    busy = float(np.median(cpus[name]))
    rows.append(
      (
        *(name, low, middle, high, 1e3 / middle, busy, runs[-1].faces),
        *(middle / ours[0], busy / ours[1]),
      )
    )
  return Table(
    (
      *("", "p25, ms", "p50, ms", "p75, ms", "photos/s", "core ms", "faces"),
      *("times ours", "core time, times ours"),
    ),
    rows,
    digits=1,
    caption=f"Of a photo; {len(results[OURS])} rounds.",
  )


@contextlib.contextmanager
def _reference(
  python: str, photos: pathlib.Path, at_once: int, settings: Settings
) -> Iterator[subprocess.Popen[str]]:
  told = [str(photos), at_once, settings.factor, settings.min_size_px]
  command = [
    python,
    "-c",
    _REFERENCE,
    json.dumps(told + [*settings.thresholds]),
  ]
  with subprocess.Popen(
    command,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  ) as process:
    try:
      if cast(IO[str], process.stdout).readline().strip() != "ready":
        raise UserError(
          f"--reference_python: expected tensorflow and mtcnn in {python}"
        )
      _ask(process)
      yield process
    finally:
      process.kill()


def _ask(process: subprocess.Popen[str]) -> Run:
  stdin, stdout = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
  stdin.write("\n")
  stdin.flush()
  line = stdout.readline()
  if not line:
    raise UserError("--reference_python: the package's process has ended")
  return Run(*json.loads(line))


def photos_to_search(folder: str | None, count: int) -> list[np.ndarray]:
  """At most so many of a folder, or else the standard ones."""
  if folder:
    return [read_photo(photo.path) for photo in list_photos(folder)[:count]]
  return astronauts(count)
