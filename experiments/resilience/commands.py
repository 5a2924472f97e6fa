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
  """

  name: str
  arguments: Sequence[str]
  compared: str = "**/*"

  def start(
    self,
    output: pathlib.Path,
    *,
    paths: Sequence[pathlib.Path] = (),
    prefix: Sequence[str] = (),
  ) -> "subprocess.Popen[str]":
    """Starts it.

    Args:
      output: The folder to write.
      paths: Come before all others where Python looks for modules.
      prefix: What runs it.
    """
    words = [word.format(output=output) for word in self.arguments]
    path = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
      [*prefix, sys.executable, "-m", *words],
      env={**os.environ, "PYTHONPATH": path},
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )


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
  smoke = "experiments/configs/smoke.py"
  return [
    Command(
      "prepare_dataset",
      (
        *("data_prep.prepare_dataset", f"--photos={people}"),
        *(f"--morphable_model={model_path}", "--heldout_people=1"),
        *("--output={output}", "--set=detect_faces.photos_per_shard=2"),
      ),
    ),
    Command(
      "train",
      ("experiments.train", f"--config={smoke}", "--workdir={output}"),
      compared="export/**/*",
    ),
    Command(
      "reconstruct",
      (
        *("experiments.reconstruct", "--method=fit", f"--photos={people}/*/*"),
        *(f"--morphable_model={model_path}", "--output={output}"),
      ),
    ),
  ]
