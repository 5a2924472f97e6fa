"""Which stages a study runs, in which order, and until when."""

from collections.abc import Sequence
import dataclasses

from experiments.study.evaluation import (
  Measuring,
  check_measuring,
  is_evaluated,
  sizes_of,
)
from experiments.study.page import evaluated, evaluation_of, read_stage_log
from experiments.study.plan import Budget, evaluation_seconds
from experiments.study.runs import (
  Stopped,
  Study,
  fits_file,
  is_trained,
  run_folder,
)
from experiments.study.stages import (
  check_order,
  evaluate_everyone,
  evaluate_some,
  fit,
  in_order,
  tell_page,
  train_one,
)
from experiments.study.variants import CONTROL, PAPER, VARIANTS
from experiments.training.host import stop_on_signals

_FIT, _TRAIN, _EVALUATE = "fit", "train", "evaluate"
STAGES = ("all", _FIT, _TRAIN, _EVALUATE)


@dataclasses.dataclass(frozen=True)
class StudyStep:
  """A part of a study that is done or not.

  Attributes:
    stage: One of `STAGES`, not "all".
    name: The variant; of an evaluation none.
    people: On how many is evaluated, else 0.
  """

  stage: str
  name: str = ""
  people: int = 0

  def __str__(self) -> str:
    return f"{self.stage} {self.name or f'on {self.people} people'}"


def steps_by_worth(
  names: Sequence[str], sizes: Sequence[int]
) -> list[StudyStep]:
  """What is worth most comes first.

  Args:
    names: Variants, in their order.
    sizes: Of how many people an evaluation is worth while, ascending.
  """
  small, everyone = (
    StudyStep(_EVALUATE, people=n) for n in (sizes[0], sizes[-1])
  )
  core = [name for name in names if name in (PAPER, CONTROL)]
  steps: list[StudyStep] = []
  for name in core:
    steps += [StudyStep(_FIT, name), StudyStep(_TRAIN, name), small]
  steps.append(everyone)
  for name in names:
    if name not in core:
      steps += [StudyStep(_FIT, name), StudyStep(_TRAIN, name), everyone]
  return steps


def run_study(
  study: Study,
  stage: str,
  names: Sequence[str],
  *,
  seed: int,
  measuring: Measuring,
  budget: Budget | None = None,
) -> None:
  """Runs the stages; those that are done are not done again.

  Args:
    study: Whose.
    stage: One of `STAGES`.
    names: Variants to fit and train; all that is trained is measured.
    seed: Of the training.
    measuring: What to measure.
    budget: If it ends, stages run in the order of their worth while it lasts,
      and the page is written after each.

  Raises:
    Stopped: Ctrl-C or SIGTERM came, or the time was up.
    UserFileNotFoundError: A variant lacks what it starts from.
    UserError: There are too few people to measure on.
  """
  names = in_order(names)
  if stage in ("all", _EVALUATE):
    check_measuring(study, measuring)
  if stage in ("all", _TRAIN):
    check_order(study, names, seed)
  if budget is not None and budget.limited:
    _run_within(study, stage, names, seed, measuring, budget)
    return
  if stage in ("all", _FIT):
    fit(study, names)
  if stage in ("all", _TRAIN):
    with stop_on_signals() as signalled:
      for name in names:
        train_one(study, name, seed, signalled)
  if stage in ("all", _EVALUATE):
    evaluate_everyone(study, seed, measuring)


def _run_within(
  study: Study,
  stage: str,
  names: Sequence[str],
  seed: int,
  measuring: Measuring,
  budget: Budget,
) -> None:
  """`run_study` for so long; a time is kept free for the next evaluation."""
  steps = [
    step
    for step in steps_by_worth(names, sizes_of(study, measuring))
    if stage in ("all", step.stage)
  ]
  tell_page(study, measuring)
  for place, step in enumerate(steps):
    if _is_done(study, step, seed, measuring):
      continue
    following = [s for s in steps[place:] if s.stage == _EVALUATE][:1]
    needed = min(
      sum(_evaluation_seconds(study, one) for one in following),
      budget.seconds / 2,
    )
    # The first evaluation is never left out: a program that is ended in it
    # has lost nothing.
    nothing_yet = evaluated(study, measuring.people, seed) is None
    first = step.stage == _EVALUATE and nothing_yet
    if budget.left < needed and not first:
      print(f"paper_scale: no time left to {step}", flush=True)
      raise Stopped
    try:
      _do(study, step, seed, measuring, budget, needed)
    finally:
      tell_page(study, measuring)


def _do(
  study: Study,
  step: StudyStep,
  seed: int,
  measuring: Measuring,
  budget: Budget,
  kept_free: float,
) -> None:
  if step.stage == _FIT:
    fit(study, [step.name])
    return
  if step.stage == _EVALUATE:
    evaluate_some(study, seed, measuring, step.people)
    return
  with stop_on_signals() as signalled:
    try:
      train_one(
        study, step.name, seed, lambda: signalled() or budget.left < kept_free
      )
    except Stopped:
      # Where the time is up, what the run came to is still measured.
      if signalled():
        raise


def _is_done(
  study: Study, step: StudyStep, seed: int, measuring: Measuring
) -> bool:
  if step.stage == _FIT:
    return fits_file(study, VARIANTS[step.name]).is_file()
  if step.stage == _TRAIN:
    return is_trained(run_folder(study, step.name, seed))
  return is_evaluated(study, seed, measuring, step.people)


def _evaluation_seconds(study: Study, step: StudyStep) -> float:
  """As the last one took here, else as the machine's rates say."""
  if study.plan is None:
    return 0.0
  rates = study.plan.rates
  expected = evaluation_seconds(rates, step.people)
  for line in reversed(read_stage_log(study.workdir)):
    before = evaluation_of(line)
    if before is not None:
      took = line["seconds"] - evaluation_seconds(rates, before)
      return max(expected + took, 0.0)
  return expected
