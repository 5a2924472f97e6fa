"""One run: a config's phases in a workdir, from data to export."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import logging
import os
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict
import tqdm

from data_prep.stages.flag_words import expand
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.folder_use import sole_use
from disentangle3d.network.face_model import FaceModel, count_params
from disentangle3d.training.checkpoint import begun_phases
from disentangle3d.training.evaluators import Evaluate
from disentangle3d.training.export import abstract_params
from disentangle3d.training.loop import LoopOptions, PhaseInput
from disentangle3d.training.optimizers import Optimizer
from disentangle3d.training.phase_losses import LOSSES, Loss
from disentangle3d.training.phases import Phase, needed_head
from disentangle3d.training.processes import is_first_process
from disentangle3d.training.run import (
  Outcome,
  check_phases,
  is_begun,
  load_start,
  run_phases,
)
from disentangle3d.training.run_files import (
  MetricLog,
  flat_config,
  write_run_info,
)
from disentangle3d.types import UserError
from experiments.configs import default
from experiments.training import features
from experiments.training.evaluators import evaluators_of
from experiments.training.inputs import face_model_of, open_input
from experiments.training.phases import (
  exported_phases,
  phases_of,
  todays_phases,
)
from experiments.training.summary import saturation_warning, write_summary

# What makes a run another one.
_HEAD_KIND = "identity_head.kind"
_FIXED = ("model", _HEAD_KIND, "seed", "examples.num_classes")
# What may change without a word when a run goes on.
_FREE = (
  "examples.path",
  "examples.verify_checksums",
  "examples.cache_mib",
  "examples.features_file",
  "init_from",
  "evaluators",
  "log_every",
  "checkpoint_every",
)
# What earlier versions wrote of every optimizer that did not say otherwise.
_WRITTEN_OUT = {"momentum": 0.9, "b1": 0.9, "b2": 0.999, "eps": 1e-8}

_logger = logging.getLogger("disentangle3d.train")


def train(
  config: ConfigDict,
  workdir: str | os.PathLike[str],
  *,
  examples: tuple[PhaseInput, MorphableModel] | None = None,
  losses: Mapping[str, Loss] | None = None,
  optimizers: Mapping[str, Mapping[str, Optimizer]] | None = None,
  evaluators: Mapping[str, Evaluate] | None = None,
  should_stop: Callable[[], bool] = lambda: False,
  profile_steps: int = 0,
  debug_nans: bool = False,
) -> Outcome:
  """Runs the phases of a config, going on where an earlier run left off.

  Args:
    config: See `experiments/configs/default.py`.
    workdir: Where everything goes.
    examples: What the caller has to train on, and the 3DMM of its
      coefficients; None takes what the config says.
    losses: More losses by name, beside `phase_losses.LOSSES`; each has a
      weight, `config.phases.<phase>.weights.<name>`.
    optimizers: By phase and module, in place of the config's: an
      `optax.GradientTransformation`, which makes the whole update, or a
      setting.
    evaluators: More to measure while training, by name: functions of params
      and step to numbers by the names they are logged under. Each has a
      period, `config.evaluators.<name>.every`.
    should_stop: Asked after every step; True saves and returns.
    profile_steps: Steps of each phase to trace, to `profile/`.
    debug_nans: Look for NaN after every step.

  Returns:
    How it ended.

  Raises:
    UserError: The config, the dataset, or what is on disk is at odds; names
      what and where.
    UserFileNotFoundError: The dataset or `init_from` is not there.
    NonFiniteLossError: The loss became NaN or infinite.
  """
  with _held(workdir):
    phases = phases_of(config, optimizers or {})
    export_phases = exported_phases(config)
    every_loss = {**LOSSES, **(losses or {})}
    _check_weights(phases, losses or {})
    devices = jax.devices()
    check_phases(phases, len(devices), export_phases, losses=every_loss)
    phase_input, morphable_model = examples or open_input(config, devices)
    _warn_of_one_person(phases, phase_input.num_classes)
    model = face_model_of(config)
    asked = evaluators_of(
      config, evaluators or {}, model=model, morphable_model=morphable_model
    )
    options = LoopOptions(
      config.log_every,
      config.checkpoint_every,
      profile_steps=profile_steps,
      profile_folder=str(pathlib.Path(workdir) / "profile"),
      debug_nans=debug_nans,
    )
    init_from = config.init_from and expand(config.init_from)
    # Before anything is written.
    if init_from and not is_begun(phases, workdir):
      load_start(init_from, model, morphable_model)
    if is_first_process():
      _write_info(config, workdir, phases, model, morphable_model)
    _log_start(model, phases, devices, morphable_model)
    with _reporter(workdir) as report:
      return run_phases(
        phases,
        model=model,
        morphable_model=morphable_model,
        phase_input=phase_input,
        workdir=workdir,
        devices=devices,
        seed=config.seed,
        init_from=init_from,
        options=options,
        export_phases=export_phases,
        report=report,
        should_stop=should_stop,
        losses=every_loss,
        evaluators=asked,
      )


@contextlib.contextmanager
def _held(workdir: str | os.PathLike[str]) -> Iterator[None]:
  """Keeps other runs out of a workdir, for all processes of this one."""
  if not is_first_process():
    yield
    return
  with sole_use(workdir):
    yield


def _write_info(
  config: ConfigDict,
  workdir: str | os.PathLike[str],
  phases: Sequence[Phase],
  model: FaceModel,
  morphable_model: MorphableModel,
) -> None:
  """Describes the run, and compares it with what its workdir began as."""
  # Its trunk is what such examples are features of.
  start = ["init_from"] if config.examples.kind == features.KIND else []
  write_run_info(
    workdir,
    config.to_dict(),
    morphable_model,
    jax.devices(),
    params={
      name: count_params(entry)
      for name, entry in abstract_params(model).items()
    },
    fixed=[*_fixed(phases, workdir), *start],
    free=[name for name in _FREE if name not in start],
    todays=_todays_config,
  )


def _fixed(
  phases: Sequence[Phase], workdir: str | os.PathLike[str]
) -> list[str]:
  """What may not change because a phase that depends on it has begun."""
  begun = set(begun_phases(workdir))
  without_head = {phase.name for phase in phases if not needed_head(phase)}
  return [
    name
    for name in _FIXED
    if begun - (without_head if name == _HEAD_KIND else set())
  ]


def _check_weights(phases: Sequence[Phase], losses: Mapping[str, Loss]) -> None:
  idle = sorted(set(losses).difference(*(phase.weights for phase in phases)))
  if idle:
    raise UserError(
      f"losses: expected a weight of {idle[0]} in a phase, got none; give"
      f" config.phases.<phase>.weights.{idle[0]}"
    )


def _warn_of_one_person(phases: Sequence[Phase], num_classes: int) -> None:
  for phase in phases:
    if num_classes < 2 and needed_head(phase):
      _logger.warning(
        "%s: all examples are of one person, so its identification loss is 0"
        " and teaches nothing; take two people or more",
        phase.name,
      )


def _todays_config(config: Mapping[str, Any]) -> dict[str, Any]:
  """A flat config of an earlier version by today's names and defaults."""
  known = default.get_config()
  renamed = {known.path_of(name): value for name, value in config.items()}
  said = {
    name: value
    for name, value in renamed.items()
    if (".arguments." not in name)
    or value != _WRITTEN_OUT.get(name.rpartition(".")[2])
  }
  for name in ("run_phases", "export_phases"):
    if name in said:
      said[name] = list(todays_phases(said[name]))
  return flat_config(known.to_dict()) | said


def _log_start(
  model: FaceModel,
  phases: tuple[Phase, ...],
  devices: list[Any],
  morphable_model: MorphableModel,
) -> None:
  _logger.info("devices: %s", ", ".join(map(str, devices)))
  _logger.info("3DMM: %s (%s)", morphable_model.name, morphable_model.licence)
  for name, entry in abstract_params(model).items():
    _logger.info("%s: %d params", name, count_params(entry))
  for phase in phases:
    _logger.info(
      "%s: %d steps of %d, trains %s",
      phase.name,
      phase.steps,
      phase.batch_size,
      ", ".join(phase.optimizers),
    )


@contextlib.contextmanager
def _reporter(
  workdir: str | os.PathLike[str],
) -> Iterator[Callable[[Phase, int, Mapping[str, float]], None]]:
  """The first process reports and sums up; the others' metrics are the same."""
  if not is_first_process():
    yield lambda phase, step, values: None
    return
  with MetricLog(workdir) as metrics, _progress(metrics) as report:
    yield report
  write_summary(workdir)


@contextlib.contextmanager
def _progress(
  metrics: MetricLog,
) -> Iterator[Callable[[Phase, int, Mapping[str, float]], None]]:
  """A reporter that writes metrics, logs a line, and moves a bar a phase."""
  bars: dict[str, tqdm.tqdm] = {}

  def report(phase: Phase, step: int, values: Mapping[str, float]) -> None:
    metrics.write(phase.name, step, values)
    if phase.name not in bars:
      # None: a bar on a terminal, log lines anywhere else.
      bars[phase.name] = tqdm.tqdm(
        total=phase.steps, desc=phase.name, disable=None
      )
    bar = bars[phase.name]
    bar.update(step - bar.n)
    if "loss" in values:
      bar.set_postfix(loss=f"{values['loss']:.4g}")
    if warning := saturation_warning(values):
      _logger.warning("%s %d/%d: %s", phase.name, step, phase.steps, warning)
    if bar.disable:
      shown = " ".join(f"{k} {v:.4g}" for k, v in sorted(values.items()))
      _logger.info("%s %d/%d: %s", phase.name, step, phase.steps, shown)

  try:
    yield report
  finally:
    for bar in bars.values():
      bar.close()
