r"""Photos a second of detect_faces' MTCNN and of the package `mtcnn`, in turn.

    python -m experiments.benchmark_detection \
      --reference_python=<environment with tensorflow-cpu and mtcnn>/bin/python

Both find faces in the same photos with the same settings, the package one
photo at a time and in batches, whichever is faster. Without --photos they are
scikit-image's astronaut (512 x 512), moved and mirrored.
"""

from collections.abc import Iterator, Sequence
import contextlib
import json
import pathlib
import subprocess
import tempfile
import time

from absl import flags
import numpy as np

from data_prep import command_line
from data_prep.mtcnn.detector import Detector, Settings
from data_prep.photos import list_photos, read_photo
from experiments.standard_photos import astronauts

# Answers each line it reads with the seconds and the number of faces.
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
  start, faces = time.perf_counter(), 0
  for i in range(0, len(photos), at_once):
    some = photos[i:i + at_once]
    found = detector.detect_faces(some if at_once > 1 else some[0], **options)
    faces += sum(map(len, found)) if at_once > 1 else len(found)
  print(json.dumps([time.perf_counter() - start, faces]), flush=True)
"""
_AT_ONCE = (1, 8)
_STANDARD_PHOTOS = 16


def run_in_turn(
  photos: Sequence[np.ndarray],
  settings: Settings,
  reference_python: str,
  rounds: int,
) -> dict[str, list[tuple[float, int]]]:
  """Seconds for all photos and faces found, a round, by who found them."""
  detector = Detector(settings)
  detector.detect(photos)
  results: dict[str, list[tuple[float, int]]] = {}
  with contextlib.ExitStack() as stack:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    path = pathlib.Path(folder) / "photos.npz"
    np.savez(path, **{f"{i:06d}": photo for i, photo in enumerate(photos)})
    packages = {
      f"package mtcnn, {at_once} at a time": stack.enter_context(
        _reference(reference_python, path, at_once, settings)
      )
      for at_once in _AT_ONCE
    }
    for _ in range(rounds):
      start = time.perf_counter()
      faces = sum(len(found.boxes) for found in detector.detect(photos))
      results.setdefault("this project", []).append(
        (time.perf_counter() - start, faces)
      )
      for name, process in packages.items():
        results.setdefault(name, []).append(_ask(process))
  return results


def report(results: dict[str, list[tuple[float, int]]], count: int) -> str:
  """The medians and the ratio, as text."""
  lines, medians = [], {}
  for name, runs in results.items():
    seconds = [run[0] / count for run in runs]
    medians[name] = float(np.median(seconds))
    lines.append(
      f"{name}: {1e3 * medians[name]:.1f} ms a photo (median of {len(runs)},"
      f" {1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f}),"
      f" {1 / medians[name]:.1f} photos/s, {runs[-1][1]} faces"
    )
  ours = medians.pop("this project")
  lines.append(f"Ratio: {min(medians.values()) / ours:.1f}")
  return "\n".join(lines)


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
      if process.stdout.readline().strip() != "ready":
        raise ValueError(
          f"--reference_python: expected tensorflow and mtcnn in {python}"
        )
      _ask(process)
      yield process
    finally:
      process.kill()


def _ask(process: subprocess.Popen[str]) -> tuple[float, int]:
  process.stdin.write("\n")
  process.stdin.flush()
  line = process.stdout.readline()
  if not line:
    raise ValueError("--reference_python: the package's process has ended")
  seconds, faces = json.loads(line)
  return seconds, faces


def _photos(folder: str | None, count: int) -> list[np.ndarray]:
  if folder:
    return [read_photo(photo.path) for photo in list_photos(folder)[:count]]
  return astronauts(count)


def _define_flags() -> None:
  paper = Settings()
  flags.DEFINE_string(
    "reference_python",
    None,
    "The Python of an environment with tensorflow-cpu and mtcnn.",
    required=True,
  )
  flags.DEFINE_string("photos", None, "A folder of photos, a folder a person.")
  flags.DEFINE_integer(
    "num_photos", _STANDARD_PHOTOS, "At most so many.", lower_bound=1
  )
  flags.DEFINE_integer("rounds", 5, "Of which the median.", lower_bound=1)
  flags.DEFINE_float("factor", paper.factor, "Of the pyramid.")


def main() -> None:
  """Measures and prints."""
  photos = _photos(flags.FLAGS.photos, flags.FLAGS.num_photos)
  results = run_in_turn(
    photos,
    Settings(factor=flags.FLAGS.factor),
    flags.FLAGS.reference_python,
    flags.FLAGS.rounds,
  )
  print(report(results, len(photos)))


if __name__ == "__main__":
  command_line.run(main, _define_flags)
