"""What the paper claims about training, answered from measured results."""

from collections.abc import Mapping

import numpy as np

from disentangle3d.evaluation.bootstrap import paired_bootstrap
from disentangle3d.evaluation.code_scores import auc_difference
from disentangle3d.reporting.html_page import (
  Paragraph,
  Row,
  Section,
  Table,
  format_number,
)
from experiments.measures.verification import IDENTITY, RESIDUAL
from experiments.pages.differences import Difference, differences_table
from experiments.pages.disentanglement import code_table, swap_table
from experiments.sets.faces import ALBEDOS
from experiments.sets.heldout import MULTI_FIT, SINGLE_FIT
from experiments.sets.synthetic import EXPRESSION, OUTDOOR, YAW
from experiments.study.results import (
  AFTER_PRETRAINING,
  HALF_WEIGHT,
  PaperResults,
  paper_network,
)
from experiments.study.variants import CONTROL, PAPER, VARIANTS

AFTER = VARIANTS[PAPER].title
_CONTROL = VARIANTS[CONTROL].title


def answers(results: PaperResults) -> list[Section]:
  """One section a question of the paper that can be asked of what is there."""
  names = list(results.decoders)
  best = paper_network(names)
  asked = [
    (
      "Does joint training make the identity code recognise people?",
      [
        _auc(results, albedo, IDENTITY, AFTER, other)
        for albedo in ALBEDOS
        for other in (AFTER_PRETRAINING, _CONTROL)
        if {AFTER, other} <= set(names)
      ],
    ),
    (
      "Does it keep the reconstruction error?",
      [
        _rmse(results, OUTDOOR, "within", one, AFTER_PRETRAINING)
        for one in (HALF_WEIGHT, AFTER, _CONTROL)
        if one in names
      ],
    ),
    (
      "Is the network better than its own labels, and than one photo's fit?",
      [
        _rmse(results, name, "within", best, other)
        for name in (OUTDOOR, YAW, EXPRESSION)
        for other in (MULTI_FIT, SINGLE_FIT)
      ],
    ),
    (
      "Does the residual code lose identity?",
      [
        _auc(results, albedo, RESIDUAL, one, AFTER_PRETRAINING)
        for albedo in ALBEDOS
        for one in names
        if one not in (AFTER_PRETRAINING, HALF_WEIGHT)
      ],
    ),
    (
      "What do the variants change?",
      [
        difference
        for one in names
        if one not in (AFTER_PRETRAINING, HALF_WEIGHT, AFTER) and AFTER in names
        for difference in (
          _auc(results, ALBEDOS[0], IDENTITY, one, AFTER),
          _rmse(results, OUTDOOR, "within", one, AFTER),
          _rmse(results, EXPRESSION, "identity_within", one, AFTER),
        )
      ],
    ),
  ]
  sections = [
    Section(question, [differences_table(differences)])
    for question, differences in asked
    if differences
  ]
  return [*sections, _span(results), _steadiness(results)]


def key_figures(results: PaperResults) -> dict[str, dict[str, float]]:
  """Each network's headline numbers, to be averaged over seeds."""
  figures: dict[str, dict[str, float]] = {}
  for name in results.decoders:
    row = {
      "RMSE, any photo": _mean(results, OUTDOOR, "within", name),
      "RMSE, yaw sweep": _mean(results, YAW, "within", name),
      "RMSE, identity shape": _mean(
        results, EXPRESSION, "identity_within", name
      ),
    }
    for albedo in ALBEDOS:
      for kind in (IDENTITY, RESIDUAL):
        result = results.faces[albedo].rows[f"{kind}, {name}"].result
        row[f"AUC, {kind}, {albedo}"] = float(result.auc.mean)
    row["outside the 3DMM, %"] = results.decoders[name].outside
    figures[name] = row
  return figures


def figures_table(
  by_seed: Mapping[int, Mapping[str, Mapping[str, float]]],
) -> Table:
  """Means over seeds, with the standard deviation where there are several."""
  names = list(dict.fromkeys(n for found in by_seed.values() for n in found))
  columns: list[str] = []
  rows: list[Row] = []
  for name in names:
    found = [figures[name] for figures in by_seed.values() if name in figures]
    columns = list(found[0])
    cells = []
    for column in columns:
      values = np.array([one[column] for one in found])
      text = format_number(float(values.mean()))
      if len(values) > 1:
        text += f" ± {format_number(float(values.std(ddof=1)))}"
      cells.append(text)
    rows.append((name, len(found), *cells))
  return Table(
    ("", "seeds", *columns),
    rows,
    caption="RMSE in mm (liu2018), AUC in percent; ± over training seeds.",
  )


def _auc(
  results: PaperResults, albedo: str, kind: str, first: str, second: str
) -> Difference:
  faces = results.faces[albedo]
  one, other = (faces.rows[f"{kind}, {name}"] for name in (first, second))
  people = faces.faces.people
  if people is None:
    raise ValueError(f"{faces.faces.name}: expected who is in each photo")
  return Difference(
    f"AUC of the {kind}, points, {albedo} albedo",
    first,
    second,
    auc_difference(one, other, people),
    more_is_better=kind == IDENTITY,
  )


def _rmse(
  results: PaperResults, where: str, field: str, first: str, second: str
) -> Difference:
  measured = results.sets[where]
  one, other = (
    getattr(measured.scores[name], field) for name in (first, second)
  )
  what = "identity shape, " if field.startswith("identity") else ""
  return Difference(
    f"RMSE, mm, {what}{where}",
    first,
    second,
    paired_bootstrap(one, other, groups=measured.people),
    more_is_better=False,
  )


def _mean(results: PaperResults, where: str, field: str, name: str) -> float:
  return float(np.mean(getattr(results.sets[where].scores[name], field)))


def _span(results: PaperResults) -> Section:
  rows = [
    (name, found.outside, *(found.changed_mm or (None, None)))
    for name, found in results.decoders.items()
  ]
  table = Table(
    ("", "outside, %", "identity basis changed, mm", "residual basis, mm"),
    rows,
    caption=(
      "Share of the decoders' squared length outside the span of the fitter's"
      " 3DMM; and how far a latent of one standard deviation moves a vertex"
      " from where it did after phases I and II (root mean square)."
    ),
  )
  return Section("Do the decoders leave the 3DMM, and do they change?", [table])


def _steadiness(results: PaperResults) -> Section:
  found = results.disentanglement
  people = len(np.unique(results.outdoor.photos.person))
  return Section(
    "Is identity steady over yaw and expression?",
    [
      Paragraph("Less drift than strangers have keeps people apart."),
      code_table(found, "identity", people),
      swap_table(found),
    ],
  )
