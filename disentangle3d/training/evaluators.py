"""Evaluation while training: numbers of the params, every so many steps."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from disentangle3d.types import UserError

# Of the params that would be exported now, whole and on the host, and of the
# updates of the phase so far: numbers by the names they are logged under.
Evaluate = Callable[[dict[str, Any], int], Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """What to measure while training.

  Attributes:
    evaluate: The measurement; changes nothing.
    every: Steps between two of them. There is one at the end of a phase too.
  """

  evaluate: Evaluate
  every: int

  def __post_init__(self):
    if self.every < 1:
      raise UserError(
        f"evaluators.every: expected at least 1 step, got {self.every}"
      )


def due_evaluators(
  evaluators: Mapping[str, Evaluator], step: int, *, ends: bool
) -> dict[str, Evaluate]:
  """Those to run after `step` updates.

  Args:
    evaluators: By name.
    step: Updates of the phase so far.
    ends: Whether the phase ends here. A run that is only asked to stop is
      not at an end: it evaluates where one that goes on does.
  """
  return {
    name: evaluator.evaluate
    for name, evaluator in evaluators.items()
    if ends or step % evaluator.every == 0
  }


def evaluate_all(
  due: Mapping[str, Evaluate], params: dict[str, Any], step: int
) -> dict[str, float]:
  """All numbers, by their names.

  Raises:
    UserError: Two evaluators give a number of one name.
  """
  numbers: dict[str, float] = {}
  for name, evaluate in due.items():
    got = {key: float(value) for key, value in evaluate(params, step).items()}
    both = sorted(got.keys() & numbers.keys())
    if both:
      raise UserError(
        f"evaluators[{name!r}]: expected names of its own, got {both[0]},"
        " which another evaluator gives"
      )
    numbers |= got
  return numbers
