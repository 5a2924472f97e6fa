"""Train states on disk: one Orbax folder a phase.

A checkpoint holds whole arrays, without the axis of the devices: written on
eight devices, it is read on one. Orbax writes under a temporary name and
renames at the end, so that a half-written checkpoint is not seen.
"""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import logging
import os
import pathlib
import shutil
import sys
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp

from disentangle3d.training.phases import OLD_NAMES
from disentangle3d.training.state import TrainState
from disentangle3d.types import UserError

FOLDER = "checkpoints"
MOST_KEPT = 2
_logger = logging.getLogger(__name__)


class DamagedCheckpointError(ValueError):
  """A checkpoint cannot be read."""


@contextlib.contextmanager
def _told_once() -> Iterator[None]:
  """Of a write that fails, only the exception is told.

  Orbax logs it once more from each of its threads, and TensorStore's go on
  after the event loop that waited for them, for as long as the process lives.
  """
  logger, usual = logging.getLogger("absl"), sys.unraisablehook

  def tell(unraisable: Any) -> None:
    if "Event loop is closed" not in str(unraisable.exc_value):
      usual(unraisable)

  logger.addFilter(_is_no_error)
  sys.unraisablehook = tell
  try:
    yield
    sys.unraisablehook = usual
  finally:
    logger.removeFilter(_is_no_error)


def _is_no_error(record: logging.LogRecord) -> bool:
  return record.levelno < logging.ERROR


class PhaseCheckpoints:
  """The checkpoints of one phase; the latest `MOST_KEPT` are kept."""

  def __init__(self, workdir: str | os.PathLike[str], phase: str):
    self.folder = _folder(workdir, phase)
    self._manager = ocp.CheckpointManager(
      self.folder,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=MOST_KEPT, create=True, enable_async_checkpointing=False
      ),
    )

  def __enter__(self) -> "PhaseCheckpoints":
    """Closes itself at the end of the block."""
    return self

  def __exit__(self, *exception: object) -> None:
    """Closes the manager."""
    self._manager.close()

  def latest_step(self) -> int | None:
    """The step of the latest whole checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, state: TrainState) -> None:
    """Writes a host state (see `placement.host_copy`) under its step.

    A step that is there already is left alone: it holds the same.

    Raises:
      OSError: It cannot be written whole, as on a full disk; those before it
        stay as they are.
    """
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    try:
      with _told_once():
        self._manager.save(
          step, args=ocp.args.StandardSave(_flat(state)), force=True
        )
        self._manager.wait_until_finished()
    except (ValueError, OSError) as error:
      # What TensorStore says of a disk is a ValueError, of many lines.
      reason = str(error).splitlines()[0] if str(error) else repr(error)
      raise OSError(
        getattr(error, "errno", None) or errno.EIO,
        f"{self.folder / str(step)}: the checkpoint cannot be written, those"
        f" before it are kept; is the disk full? (...{reason[-160:]})",
      ) from error

  def restore(self, step: int, like: TrainState) -> TrainState:
    """Reads the state of a step.

    Args:
      step: From `latest_step`.
      like: A state of the same structure: arrays, or their shapes.

    Returns:
      The state, as NumPy arrays.

    Raises:
      DamagedCheckpointError: It cannot be read; names the folder.
      ValueError: It holds other arrays than `like`; names the folder and the
        first difference.
    """
    where = self.folder / str(step)
    try:
      stored = self._manager.restore(step, args=ocp.args.StandardRestore())
    except (ValueError, OSError, KeyError, TypeError) as error:
      reason = str(error).splitlines()[0] if str(error) else repr(error)
      raise DamagedCheckpointError(
        f"{where}: expected a checkpoint, got a damaged one ({reason})"
      ) from error
    return _unflat(stored, like, where)

  def restore_latest(self, like: TrainState) -> TrainState | None:
    """Reads the latest checkpoint that can be read.

    Damaged ones are put aside under another name, and a warning says so: the
    run will write that step again.

    Args:
      like: As for `restore`.

    Returns:
      The state, as NumPy arrays; None where there is no checkpoint.

    Raises:
      DamagedCheckpointError: There are some, and all are damaged.
      ValueError: As for `restore`.
    """
    damaged: dict[int, DamagedCheckpointError] = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        state = self.restore(step, like)
      except DamagedCheckpointError as error:
        damaged[step] = error
        continue
      for bad, reason in damaged.items():
        _logger.warning("%s; going on from step %d before it", reason, step)
        self._put_aside(bad)
      return state
    if damaged:
      raise damaged[max(damaged)]
    return None

  def _put_aside(self, step: int) -> None:
    where = self.folder / str(step)
    if jax.process_index() == 0:
      aside = where.with_name(f"damaged-{step}")
      if aside.exists():
        shutil.rmtree(aside)
      where.rename(aside)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices("checkpoint put aside")
    self._manager.reload()


def _folder(workdir: str | os.PathLike[str], phase: str) -> pathlib.Path:
  """A phase's; by its earlier name where only that is there."""
  above = pathlib.Path(os.path.abspath(workdir)) / FOLDER
  names = [phase, *(old for old, new in OLD_NAMES.items() if new == phase)]
  there = [name for name in names if (above / name).is_dir()]
  return above / (there or names)[0]


def _flat(state: TrainState) -> dict[str, np.ndarray]:
  leaves = jax.tree_util.tree_leaves_with_path(state)
  return {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}


def _unflat(
  stored: Mapping[str, Any], like: TrainState, where: pathlib.Path
) -> TrainState:
  paths, structure = jax.tree_util.tree_flatten_with_path(like)
  wanted = {jax.tree_util.keystr(path): leaf for path, leaf in paths}
  differing = sorted(wanted.keys() ^ stored.keys())
  if differing:
    raise UserError(
      f"{where}: expected the {len(wanted)} arrays of this model and phase,"
      f" got {len(stored)}; the first that differs is {differing[0]}"
    )
  for name, leaf in wanted.items():
    if tuple(stored[name].shape) != tuple(leaf.shape):
      raise UserError(
        f"{where}: expected {name} of shape {list(leaf.shape)}, got"
        f" {list(stored[name].shape)}"
      )
  leaves = [np.asarray(stored[name]) for name in wanted]
  return jax.tree.unflatten(structure, leaves)


def latest_step(workdir: str | os.PathLike[str], phase: str) -> int | None:
  """As `PhaseCheckpoints.latest_step`, without making the phase's folder.

  Only looks at names, so that processes need not do it together.
  """
  folder = _folder(workdir, phase)
  if not folder.is_dir():
    return None
  # Unfinished ones have a suffix.
  steps = [int(p.name) for p in folder.iterdir() if p.name.isdecimal()]
  return max(steps, default=None)


def begun_phases(workdir: str | os.PathLike[str]) -> list[str]:
  """The phases that a workdir has a checkpoint of, by today's names."""
  above = pathlib.Path(os.path.abspath(workdir)) / FOLDER
  names = [place.name for place in sorted(above.glob("*")) if place.is_dir()]
  phases = dict.fromkeys(OLD_NAMES.get(name, name) for name in names)
  return [name for name in phases if latest_step(workdir, name) is not None]
