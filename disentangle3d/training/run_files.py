"""The text files of a workdir: what ran, and its metrics."""

from collections.abc import Callable, Mapping, Sequence
import json
import logging
import os
import pathlib
import subprocess
import time
from typing import Any

import jax
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.machine import package_versions
from disentangle3d.output_files import (
  drop_half_line,
  named_errors,
  replace_file,
)
from disentangle3d.training.phases import OLD_NAMES
from disentangle3d.types import UserError, UserFileNotFoundError

_logger = logging.getLogger(__name__)
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
  After a crash the steps since the last checkpoint come twice; the later value
  holds. What is evaluated at a step has a line of its own.
  """

  def __init__(self, workdir: str | os.PathLike[str]):
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    self._path = workdir / METRICS
    drop_half_line(self._path)
    self._lines = self._path.open("a")
    self._folder = workdir / "tensorboard"
    self._folder.mkdir(exist_ok=True)
    # Not a SummaryWriter: its thread ends silently where the disk is full or
    # the clock is set, and then holds up the training for good.
    self._events = event_file_writer.EventsWriter(str(self._folder / "events"))

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
    with named_errors(self._path):
      self._lines.write(json.dumps(line) + "\n")
      self._lines.flush()
    with named_errors(self._folder):
      for name, value in values.items():
        scalar = summary.scalar(f"{phase}/{name}", value)
        event = event_pb2.Event(summary=scalar, step=step)
        event.wall_time = time.time()
        self._events.write_event(event)
      self._events.flush()


def read_metrics(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """The metrics of a workdir, one dict a moment, in order, without repeats.

  Raises:
    UserFileNotFoundError: Nothing was logged there.
    UserError: A line is not JSON; names it.
  """
  path = pathlib.Path(workdir) / METRICS
  if not path.is_file():
    raise UserFileNotFoundError(
      f"{path}: no such file; nothing was trained here"
    )
  latest: dict[tuple[str, int], dict[str, Any]] = {}
  lines = path.read_text().splitlines()
  for number, text in enumerate(lines, start=1):
    try:
      line = json.loads(text)
      line["phase"] = OLD_NAMES.get(line["phase"], line["phase"])
      key = line["phase"], line["step"]
      latest[key] = latest.get(key, {}) | line
    except (ValueError, KeyError, TypeError) as error:
      raise UserError(
        f"{path}: line {number}: expected a JSON object with phase and step"
      ) from error
  return list(latest.values())


def write_run_info(
  workdir: str | os.PathLike[str],
  config: Mapping[str, Any],
  morphable_model: MorphableModel,
  devices: Sequence[jax.Device],
  *,
  params: Mapping[str, int],
  fixed: Sequence[str],
  free: Sequence[str] = (),
  todays: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> None:
  """Writes `run.json`, after comparing it with the run begun here.

  What changed since is said in a warning, key by key; what would make it
  another run is refused.

  Args:
    workdir: The run's folder; made with its parents.
    config: The resolved config; JSON values.
    morphable_model: Whose provenance and licence go with the run.
    devices: What it trains on.
    params: The number of parameters of each top-level entry.
    fixed: Entries of the config, "a" or "a.b", that may not change; nor may
      the 3DMM, where there are any.
    free: Entries that may change without a word.
    todays: Makes of a flat config that an earlier version wrote one by
      today's names.

  Raises:
    ValueError: The workdir holds another run; names the entry that differs.
  """
  path = pathlib.Path(workdir) / RUN
  path.parent.mkdir(parents=True, exist_ok=True)
  config = json.loads(json.dumps(config))
  info = {
    "config": config,
    "morphable_model": morphable_model.provenance
    | {"num_vertices": morphable_model.num_vertices},
    "versions": package_versions(_PACKAGES),
    "git_commit": _git_commit(),
    "devices": [str(device) for device in devices],
    "params": dict(params),
  }
  if path.is_file():
    _compare_runs(path, info, fixed, free, todays)
  replace_file(path, json.dumps(info, indent=2) + "\n")


def _compare_runs(
  path: pathlib.Path,
  info: Mapping[str, Any],
  fixed: Sequence[str],
  free: Sequence[str],
  todays: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
  model = "morphable_model"
  try:
    before = json.loads(path.read_text())
    old = flat_config({model: before[model]})
    config = todays(flat_config(before["config"]))
    old |= {f"config.{name}": value for name, value in config.items()}
  except (ValueError, KeyError, AttributeError) as error:
    raise UserError(
      f"{path}: expected the description of a run ({error})"
    ) from error
  new = flat_config({"config": info["config"], model: info[model]})
  kept = [model, *(f"config.{name}" for name in fixed)] if fixed else []
  silent = [f"config.{name}" for name in free]
  for name in sorted({*old, *new}):
    was, now = (json.dumps(flat.get(name)) for flat in (old, new))
    if was == now or _is_under(name, silent):
      continue
    # A key that an earlier version did not have has its default.
    if name in old and _is_under(name, kept):
      raise UserError(
        f"{name}: expected {was} as the run in {path.parent} has, got {now};"
        " take another workdir"
      )
    _logger.warning("%s: was %s when this run began, is %s", name, was, now)


def flat_config(tree: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
  """The leaves of nested mappings by their paths, "a.b"."""
  flat: dict[str, Any] = {}
  for name, value in tree.items():
    if isinstance(value, dict) and value:
      flat |= flat_config(value, prefix=f"{prefix}{name}.")
    else:
      flat[f"{prefix}{name}"] = value
  return flat


def _is_under(name: str, entries: Sequence[str]) -> bool:
  return any(name == e or name.startswith(f"{e}.") for e in entries)


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
