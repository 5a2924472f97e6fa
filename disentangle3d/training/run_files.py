"""The text files of a workdir: what ran, and its metrics."""

from collections.abc import Mapping, Sequence
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from typing import Any

import jax
import tensorboardX

from disentangle3d.faces.morphable_model import MorphableModel

RUN = "run.json"
METRICS = "metrics.jsonl"
_PACKAGES = (
  "disentangle3d",
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "grain",
  "numpy",
)


class MetricLog:
  """Appends metrics to `metrics.jsonl` and to TensorBoard's event files.

  A line is a JSON object with phase, step (updates of that phase) and values.
  After a crash the steps since the last checkpoint come twice; the later line
  holds.
  """

  def __init__(self, workdir: str | os.PathLike[str]):
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    self._lines = (workdir / METRICS).open("a")
    self._events = tensorboardX.SummaryWriter(str(workdir / "tensorboard"))

  def __enter__(self) -> "MetricLog":
    """Closes itself at the end of the block."""
    return self

  def __exit__(self, *exception: object) -> None:
    """Closes the files."""
    self._lines.close()
    self._events.close()

  def write(self, phase: str, step: int, values: Mapping[str, float]) -> None:
    """Writes the values of one moment; flushed at once."""
    line = {"phase": phase, "step": step, **values}
    self._lines.write(json.dumps(line) + "\n")
    self._lines.flush()
    for name, value in values.items():
      self._events.add_scalar(f"{phase}/{name}", value, step)


def read_metrics(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """The metrics of a workdir, one dict a moment, in order, without repeats.

  Raises:
    FileNotFoundError: Nothing was logged there.
    ValueError: A line is not JSON; names it.
  """
  path = pathlib.Path(workdir) / METRICS
  if not path.is_file():
    raise FileNotFoundError(f"{path}: no such file; nothing was trained here")
  latest: dict[tuple[str, int], dict[str, Any]] = {}
  lines = path.read_text().splitlines()
  for number, text in enumerate(lines, start=1):
    try:
      line = json.loads(text)
      latest[line["phase"], line["step"]] = line
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"{path}: line {number}: expected a JSON object with phase and step"
      ) from error
  return list(latest.values())


def write_run_info(
  workdir: str | os.PathLike[str],
  config: Mapping[str, Any],
  morphable_model: MorphableModel,
  devices: Sequence[jax.Device],
  *,
  free: Sequence[str] = (),
) -> None:
  """Writes `run.json`, after checking that the run is the one begun here.

  Args:
    workdir: The run's folder; made with its parents.
    config: The resolved config; JSON values.
    morphable_model: Whose provenance and licence go with the run.
    devices: What it trains on.
    free: Top-level entries of the config that may change between runs.

  Raises:
    ValueError: The workdir holds another run; names the entry that differs.
  """
  path = pathlib.Path(workdir) / RUN
  path.parent.mkdir(parents=True, exist_ok=True)
  config = json.loads(json.dumps(config))
  info = {
    "config": config,
    "morphable_model": {
      name: getattr(morphable_model, name)
      for name in ("name", "source", "licence", "num_vertices")
    },
    "versions": {
      "python": platform.python_version(),
      **{package: _version(package) for package in _PACKAGES},
    },
    "git_commit": _git_commit(),
    "devices": [str(device) for device in devices],
  }
  if path.is_file():
    _check_same_run(path, info, free)
  partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
  partial.write_text(json.dumps(info, indent=2) + "\n")
  partial.replace(path)


def _check_same_run(
  path: pathlib.Path, info: Mapping[str, Any], free: Sequence[str]
) -> None:
  try:
    before = json.loads(path.read_text())
    pairs = [
      (f"config.{name}", before["config"].get(name), value)
      for name, value in info["config"].items()
      if name not in free
    ]
    model = "morphable_model"
    pairs.append((model, before[model], info[model]))
  except (ValueError, KeyError, AttributeError) as error:
    raise ValueError(
      f"{path}: expected the description of a run ({error})"
    ) from error
  for name, old, new in pairs:
    if old != new:
      where, old, new = _first_difference(name, old, new)
      raise ValueError(
        f"{where}: expected {json.dumps(old)} as the run in {path.parent} has,"
        f" got {json.dumps(new)}; take another workdir"
      )


def _first_difference(name: str, old: Any, new: Any) -> tuple[str, Any, Any]:
  if isinstance(old, dict) and isinstance(new, dict):
    for key in sorted({*old, *new}):
      if old.get(key) != new.get(key):
        return _first_difference(f"{name}.{key}", old.get(key), new.get(key))
  return name, old, new


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"


def _git_commit() -> str:
  here = pathlib.Path(__file__).resolve().parent
  try:
    result = subprocess.run(
      ["git", "rev-parse", "HEAD"],
      cwd=here,
      capture_output=True,
      text=True,
      timeout=10,
    )
  except (OSError, subprocess.TimeoutExpired):
    return "unknown"
  return result.stdout.strip() if result.returncode == 0 else "unknown"
