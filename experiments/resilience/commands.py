"""Small runs of the binaries that are interrupted, and what they leave."""

from collections.abc import Sequence
import dataclasses
import hashlib
import os
import pathlib
import subprocess
import sys

from data_prep.stages.extras import require
from disentangle3d.faces.morphable_model import save_morphable_model
from disentangle3d.faces.procedural import procedural_face_model

# Of a run's output, what tells when and by whom it was made.
_OF_THE_MOMENT = ("events.out.tfevents", "metrics", "run.json")
MOST_SECONDS = 1200
BINARIES = ("prepare_dataset", "train", "reconstruct")


@dataclasses.dataclass(frozen=True)
class Command:
  """A run of a binary.

  Attributes:
    name: The binary's.
    arguments: Of `python -m`; `{output}` stands for the folder to write.
    compared: What of its output must be the same after interruptions.
    programs: A folder for what JAX compiles, of which only runs that nobody
      disturbs write: a kill would leave halves there.
  """

  name: str
  arguments: Sequence[str]
  compared: str = "**/*"
  programs: pathlib.Path | None = None

  def start(
    self,
    output: pathlib.Path,
    *,
    paths: Sequence[pathlib.Path] = (),
    prefix: Sequence[str] = (),
    disturbed: bool = True,
  ) -> "subprocess.Popen[str]":
    """Starts it.

    Args:
      output: The folder to write.
      paths: Come before all others where Python looks for modules.
      prefix: What runs it.
      disturbed: Whether it may end before its time.
    """
    words = [word.format(output=output) for word in self.arguments]
    path = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
      [*prefix, sys.executable, "-m", *words],
      env={**os.environ, "PYTHONPATH": path, **self._cache(disturbed)},
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  def _cache(self, disturbed: bool) -> dict[str, str]:
    """JAX's settings, by which later runs take less time."""
    if self.programs is None:
      return {}
    return {
      "JAX_COMPILATION_CACHE_DIR": str(self.programs),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9" if disturbed else "0",
      "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def content_of(folder: pathlib.Path, pattern: str) -> dict[str, str]:
  """Digests of the files that must be the same."""
  return {
    str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(folder.glob(pattern))
    if path.is_file() and not path.name.startswith(_OF_THE_MOMENT)
  }


def make_commands(scratch: pathlib.Path, people: pathlib.Path) -> list[Command]:
  """A small run of `prepare_dataset`, `train` and `reconstruct`.

  Args:
    scratch: Where the 3DMM and photographs are written.
    people: Photographs with a face each, a folder a person.

  Raises:
    UserModuleNotFoundError: The extra `detect` is not installed.
  """
  require("detect", "to find faces", "mtcnn", "dlib")
  model = procedural_face_model(
    num_vertices=600, identity_dim=12, expression_dim=5
  )
  model_path = scratch / "model.npz"
  save_morphable_model(model_path, model)
  programs = scratch / "programs"
  return [
    Command(
      "prepare_dataset",
      (
        *("data_prep.prepare_dataset", f"--photos={people}"),
        *(f"--morphable_model={model_path}", "--heldout_people=1"),
        *("--output={output}", "--set=detect_faces.photos_per_shard=2"),
      ),
      programs=programs,
    ),
    Command(
      "train",
      ("experiments.train", "--config=smoke", "--workdir={output}"),
      compared="export/**/*",
      programs=programs,
    ),
    Command(
      "reconstruct",
      (
        *("experiments.reconstruct", "--method=fit", f"--photos={people}/*/*"),
        *(f"--morphable_model={model_path}", "--output={output}"),
      ),
      programs=programs,
    ),
  ]
