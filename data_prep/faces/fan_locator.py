r"""68 landmarks by FAN (Bulat and Tzimiropoulos 2017), the paper's [7].

The package face-alignment pulls PyTorch and another build of OpenCV, so it runs
under a Python of its own, as a process that is asked over pipes:

    python -m venv fan && fan/bin/pip install face-alignment
    python -m data_prep.locate_landmarks --detected=detected \
      --output=located --locator=fan --fan_python=fan/bin/python

It downloads its weights when it is first used.
"""

from collections.abc import Mapping
import functools
import json
import pathlib
import subprocess
import tempfile
from typing import IO, Any, cast

from jaxtyping import UInt8
import numpy as np

from data_prep.faces.locators import LocatedFace, NoFaceError, inside_photo
from data_prep.stages.rows import PhotoRow
from disentangle3d.types import NUM_LANDMARKS, UserError

NAME = "face-alignment (FAN)"
LICENCES = {
  "face-alignment": "BSD 3-Clause",
  "FAN weights": (
    "published with face-alignment without terms of their own; trained on"
    " 300W-LP, which is for research"
  ),
}
_SERVER = pathlib.Path(__file__).with_name("fan_server.py")


class FanLocator:
  """Asks a process that runs FAN; close it, or use it as a context."""

  def __init__(self, python: str, *, device: str = "cpu"):
    """Starts the process and waits until FAN is loaded.

    Args:
      python: The Python of an environment with face-alignment.
      device: PyTorch's.

    Raises:
      UserError: There is no such Python, or it cannot be started.
      ChildProcessError: The process ended: the package or its weights are not
        there, say; quotes its last line.
    """
    self.name = NAME
    self._started_with = python, device
    self.licences: Mapping[str, str] = LICENCES
    self._errors = tempfile.TemporaryFile("w+")
    try:
      self._process = subprocess.Popen(
        [python, str(_SERVER), device],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=self._errors,
      )
    except OSError as error:
      self._errors.close()
      raise UserError(
        f"{python}: cannot be started ({error.strerror}); expected the Python"
        " of an environment with face-alignment"
      ) from error
    self._input = cast(IO[bytes], self._process.stdin)
    self._output = cast(IO[bytes], self._process.stdout)
    version = str(self._read().get("version"))
    self.settings: Mapping[str, object] = {
      "locator": "fan",
      "face_alignment": version,
    }

  def __reduce__(self) -> tuple[Any, ...]:
    # Another process starts one of its own, which ends with it.
    python, device = self._started_with
    return functools.partial(type(self), python, device=device), ()

  def __enter__(self) -> "FanLocator":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Ends the process."""
    self._process.kill()
    self._process.wait()
    for stream in (self._input, self._output, self._errors):
      stream.close()

  def locate(
    self, photo: UInt8[np.ndarray, "H W 3"], row: PhotoRow
  ) -> LocatedFace:
    """See `Locator`; without a box, face-alignment's own detector is asked."""
    box = None if row.box is None else np.asarray(row.box, float).tolist()
    head = {"height": photo.shape[0], "width": photo.shape[1], "box": box}
    pipe = self._input
    try:
      pipe.write(json.dumps(head).encode() + b"\n" + photo.tobytes())
      pipe.flush()
    except BrokenPipeError:
      pass  # The process's own last words say more.
    answer = self._read()
    if "reason" in answer:
      raise NoFaceError(str(answer["reason"]))
    landmarks = np.array(answer["landmarks"], np.float32)
    if (
      landmarks.shape != (NUM_LANDMARKS, 2) or not np.isfinite(landmarks).all()
    ):
      raise NoFaceError("FAN gave no 68 points")
    return LocatedFace(
      box=np.array(answer["box"], np.float32),
      landmarks=landmarks,
      visibility=inside_photo(landmarks, photo),
    )

  def _read(self) -> dict[str, Any]:
    line = self._output.readline()
    if line:
      return json.loads(line)
    self._process.wait()
    self._errors.seek(0)
    said = self._errors.read().strip().splitlines()
    self.close()
    raise ChildProcessError(
      "--fan_python: expected a Python that runs face-alignment; it ended with:"
      f" {said[-1] if said else 'nothing'}"
    )
