"""One thing minus another over the same photos, and what that shows."""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools

from jaxtyping import Array, Int
import numpy as np

from disentangle3d.evaluation.bootstrap import Interval
from disentangle3d.evaluation.code_scores import CodeScores, auc_difference
from disentangle3d.reporting.html_page import Table, interval


@dataclasses.dataclass(frozen=True)
class Difference:
  """One thing minus another, over the same photos.

  Attributes:
    what: Of what, with its unit.
    first: What is compared.
    second: With what.
    value: Of first minus second, 95 %, people drawn again.
    more_is_better: Which sign is a gain.
  """

  what: str
  first: str
  second: str
  value: Interval
  more_is_better: bool

  def verdict(self) -> str:
    """`better`, `worse`, or that nothing is shown."""
    if self.value.low <= 0 <= self.value.high:
      return "no difference shown"
    return "better" if (self.value.low > 0) == self.more_is_better else "worse"


def auc_differences(
  kind: str,
  scores: Mapping[str, CodeScores],
  people: Int[Array | np.ndarray, "N"],
  *,
  more_is_better: bool,
) -> list[Difference]:
  """Each network's code against that of those before it, all pairs.

  Args:
    kind: Of code.
    scores: By network, of the same pairs.
    people: Who is in each photo.
    more_is_better: Whether the code should know them.
  """
  return [
    Difference(
      f"AUC of the {kind}, points",
      first,
      second,
      auc_difference(scores[first], scores[second], people),
      more_is_better,
    )
    for first, second in itertools.combinations(reversed(list(scores)), 2)
  ]


def differences_table(differences: Sequence[Difference]) -> Table:
  """A row each, with its interval and verdict."""
  return Table(
    ("what", "", "minus", "difference", ""),
    [
      (one.what, one.first, one.second, interval(one.value), one.verdict())
      for one in differences
    ],
    text_columns=(0, 1, 2, 4),
    caption="95 % intervals, people drawn again.",
  )
