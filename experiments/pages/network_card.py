"""The figures of a network's model card, each beside what was demanded."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from disentangle3d.evaluation.bootstrap import Interval, mean_and_interval
from disentangle3d.evaluation.side_by_side import OUTLINE_MEDIAN
from disentangle3d.faces.morphable_model import load_morphable_model
from disentangle3d.reporting.html_page import Table
from disentangle3d.reporting.markdown import markdown_table
from disentangle3d.training.export import Network
from experiments.measures.landmarks import (
  FIT,
  landmark_distances,
  marked_photos,
)
from experiments.measures.processes import map_in_processes
from experiments.measures.scans import make_maker
from experiments.measures.verification import IDENTITY, measure_faces
from experiments.measures.york import measure_york
from experiments.sets.alignment import PhotoSource, aligned_folder
from experiments.sets.heldout import MEAN_SHAPE, SINGLE_FIT
from experiments.sets.networks import check_crops
from experiments.sets.published import lfw_set
from experiments.sets.york import aligned_york, york_set

_NAME = "network"
LEAST_AUC = 82.0
_LANDMARK_SHARE = 1.25


@dataclasses.dataclass(frozen=True)
class CardInputs:
  """What a network is measured on; None or nothing leaves a set out.

  Attributes:
    photographs: A dataset of photographs with people held out.
    lfw_pairs: `pairs.txt`.
    lfw_aligned: What align_faces made of LFW.
    york: Scans and photographs.
    york_aligned: What align_faces made of the photographs.
    york_split: Whose scans.
    morphable_model: Of the landmark fits, `.npz`.
  """

  photographs: str | None = None
  lfw_pairs: str | None = None
  lfw_aligned: str | None = None
  york: Sequence[str] = ()
  york_aligned: str | None = None
  york_split: str = "development"
  morphable_model: str | None = None


@dataclasses.dataclass(frozen=True)
class Measure:
  """One row of the card.

  Attributes:
    what: Measured on what.
    value: The network's; None was not measured.
    bound: What was demanded.
    at_least: Whether more is better.
    beside: Others' figures.
    spread: Of the value, as the table prints it behind: ± over folds, or a
      95 % interval.
  """

  what: str
  value: float | None
  bound: float | None
  at_least: bool
  beside: str = ""
  spread: str = ""

  @property
  def held(self) -> str:
    """Whether the demand is met, in a word; "-" where nobody measured."""
    if self.value is None or self.bound is None:
      return "-"
    over = self.value >= self.bound
    return "yes" if over == self.at_least else "no"


def network_gates(network: Network, inputs: CardInputs) -> list[Measure]:
  """Measures a network on what there is.

  Args:
    network: Of the 3DMM that the inputs were fitted with.
    inputs: What there is.

  Raises:
    UserError: A set is damaged.
    UserFileNotFoundError: One is missing.
  """
  return [
    _recognition(network, inputs),
    _scans(network, inputs),
    _landmarks(network, inputs),
  ]


def card_table(measures: Sequence[Measure]) -> str:
  """The card's table, markdown."""

  def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

  rows = [
    [
      one.what,
      f"{number(one.value)} {one.spread}".rstrip(),
      f"{'at least' if one.at_least else 'at most'} {number(one.bound)}",
      one.held,
      one.beside or "-",
    ]
    for one in measures
  ]
  header = ["measure", "network", "demanded", "held", "beside"]
  return markdown_table(Table(header, rows, text_columns=range(5))) + "\n"


def _recognition(network: Network, inputs: CardInputs) -> Measure:
  what = "LFW view 2, AUC of the identity code, %"
  if inputs.lfw_pairs is None or inputs.lfw_aligned is None:
    return Measure(what, None, LEAST_AUC, at_least=True)
  source = PhotoSource(
    "lfw", aligned=inputs.lfw_aligned, template=network.model.template
  )
  faces = lfw_set(inputs.lfw_pairs, aligned_folder(source, [], []))
  rows = measure_faces(faces, {_NAME: network}).rows
  own = f"{IDENTITY}, {_NAME}"
  others = (
    f"{name} {scored.result.auc.mean:.1f}"
    for name, scored in rows.items()
    if name != own
  )
  auc = rows[own].result.auc
  return Measure(
    what,
    auc.mean,
    LEAST_AUC,
    at_least=True,
    beside="; ".join(others),
    spread=f"± {auc.std:.2f}",
  )


def _scans(network: Network, inputs: CardInputs) -> Measure:
  what = f"York scans ({inputs.york_split}), median distance, mm"
  if not inputs.york or inputs.morphable_model is None:
    return Measure(what, None, None, at_least=False)
  crops = PhotoSource(
    "york", aligned=inputs.york_aligned, template=network.model.template
  )
  faces = york_set(
    inputs.york,
    aligned=aligned_york(inputs.york, crops, inputs.york_split),
    split=inputs.york_split,
  )
  fitter = load_morphable_model(inputs.morphable_model)
  maker = make_maker(faces.photos, {_NAME: network}, fitter=fitter)
  results = measure_york(faces, maker, fitter=None, run=map_in_processes)
  medians = {
    name: float(np.mean(results.table.scores[name][OUTLINE_MEDIAN]))
    for name in maker.names
  }
  return Measure(
    what,
    medians[_NAME],
    medians[SINGLE_FIT],
    at_least=False,
    beside="; ".join(
      f"{name} {value:.2f}" for name, value in medians.items() if name != _NAME
    ),
    spread=_range(results.table.interval(_NAME, OUTLINE_MEDIAN)),
  )


def _range(found: Interval | None) -> str:
  return "" if found is None else f"[{found.low:.2f}, {found.high:.2f}]"


def _landmarks(network: Network, inputs: CardInputs) -> Measure:
  what = "68 landmarks of held-out photographs, px"
  if inputs.photographs is None:
    return Measure(what, None, None, at_least=False)
  check_crops({_NAME: network}, inputs.photographs)
  photos = marked_photos(inputs.photographs)
  found = landmark_distances(photos, {_NAME: network})
  mean = {name: float(np.mean(values)) for name, values in found.items()}
  return Measure(
    what,
    mean[_NAME],
    _LANDMARK_SHARE * mean[FIT],
    at_least=False,
    beside=f"{FIT} {mean[FIT]:.2f}; {MEAN_SHAPE} {mean[MEAN_SHAPE]:.2f}",
    spread=_range(mean_and_interval(found[_NAME], groups=photos.people)),
  )
