"""Table 3 and its figures, from what was measured on sets of faces."""

from collections.abc import Mapping, Sequence

import numpy as np

from disentangle3d.evaluation.presets import PRESETS
from disentangle3d.evaluation.verification import VerificationResult
from disentangle3d.reporting.html_page import (
  Block,
  Grid,
  Picture,
  Row,
  Section,
  Table,
  mean_std,
)
from disentangle3d.reporting.roc_charts import det_curves, roc_curves
from experiments.measures.screening import KnownPeople, kept_pairs, verify_some
from experiments.measures.verification import IDENTITY, RESIDUAL, FaceResults
from experiments.pages.differences import (
  Difference,
  auc_differences,
  differences_table,
)
from experiments.pages.paper_tables import (
  FUSION,
  LFW,
  YTF,
  Cell,
  Measured,
  number_or_none,
  printed_rows,
)
from experiments.sets.missing import missing_note
from experiments.sets.published import LFW_VIEW_2, YOUTUBE

# Sets that the paper has a table of.
_TABLES = {LFW_VIEW_2: LFW, YOUTUBE: YTF}
_STATISTICS = {
  "Accuracy": "accuracy",
  "100%-EER": "eer_complement",
  "AUC": "auc",
  "TAR@FAR10%": "tar_at_far_10",
  "TAR@FAR1%": "tar_at_far_1",
}


def face_sections(results: FaceResults) -> list[Section]:
  """Everything about one set."""
  faces, rows = results.faces, results.rows
  pairs = faces.pairs
  folds = len(np.unique(pairs.fold))
  caption = (
    f"{faces.name}: percent, mean ± std over {folds} folds,"
    f" {len(pairs.same):,} pairs, half of them genuine; a residual code should"
    " not tell people apart (AUC 50). A dash: too few impostor pairs a fold."
    + missing_note(faces.policy, faces.missing, faces.unreadable)
  )
  of_rows = {name: scored.result for name, scored in rows.items()}
  key = _TABLES.get(faces.name)
  printed = printed_rows(key) if key else []
  if printed:
    caption += " Printed rows are the paper's."
  blocks: list[Block] = [
    _verification_table(of_rows, caption=caption, printed=printed)
  ]
  blocks += _differences(results)
  curves = {
    name: result.roc
    for name, result in of_rows.items()
    if "mirrored" not in name
  }
  blocks.append(
    Grid(
      [
        Picture(roc_curves(curves, title="ROC"), f"ROC, {faces.name}"),
        Picture(det_curves(curves, title="DET"), f"DET, {faces.name}"),
      ],
      columns=2,
    )
  )
  if results.presets:
    blocks.append(_presets(results))
  if results.fusion:
    caption = (
      "Score-level fusion: sums of scores, normalised on the other folds"
    )
    blocks.append(_verification_table(results.fusion, caption=caption))
  if results.galleries is not None:
    blocks.append(_galleries(results))
  return [Section(f"Verification: {faces.name}", blocks)]


def screened_section(results: FaceResults, trained_on: KnownPeople) -> Section:
  """The set again without faces of people that networks may have seen."""
  faces = results.faces
  alike = trained_on.alike(faces)
  kept = kept_pairs(faces.pairs, alike)
  caption = (
    f"{faces.name} without {int(alike.sum())} of {len(alike):,} photos or"
    f" videos that may show one of the {len(trained_on.means):,} people trained"
    " on: the trunk's feature has a cosine with the mean of somebody's photos"
    f" of at least {trained_on.bound:g}; {len(kept):,} pairs, equally many a"
    " fold"
  )
  table = _verification_table(verify_some(results, kept), caption=caption)
  return Section(f"Verification: {faces.name}, strangers to training", [table])


def face_rows(results: FaceResults) -> Measured:
  """The set's rows of the paper's Table 3, and of 4.2's fusion."""
  faces = results.faces
  measured: dict[str, Mapping[str, Sequence[Cell]]] = {
    LFW if faces.frames is None else YTF: {
      f"{name}, {faces.name}": _verification_cells(scored.result)
      for name, scored in results.rows.items()
      if not name.startswith(RESIDUAL)
    }
  }
  if results.fusion:
    measured[FUSION] = {
      f"{name}, {faces.name}": (number_or_none(one.accuracy.mean),)
      for name, one in results.fusion.items()
    }
  return measured


def _verification_cells(result: VerificationResult) -> list[Cell]:
  """Mean and standard deviation of Table 3's columns."""
  cells: list[Cell] = []
  for field in _STATISTICS.values():
    statistic = getattr(result, field)
    mean = number_or_none(statistic.mean)
    cells.append(None if mean is None else (mean, float(statistic.std)))
  return cells


def _verification_table(
  rows: Mapping[str, VerificationResult],
  *,
  caption: str,
  printed: Sequence[Row] = (),
) -> Table:
  """One row a code: the columns of the paper's Table 3, percent."""
  cells = [*printed]
  for name, result in rows.items():
    found = [getattr(result, field) for field in _STATISTICS.values()]
    cells.append((name, *(mean_std(s.mean, s.std) for s in found)))
  return Table(("", *_STATISTICS), cells, caption=caption)


def _differences(results: FaceResults) -> list[Block]:
  if results.faces.people is None:
    return []
  differences: list[Difference] = []
  for kind in (IDENTITY, RESIDUAL):
    scores = {
      name.removeprefix(f"{kind}, "): scored
      for name, scored in results.rows.items()
      if name.startswith(kind) and "mirrored" not in name
    }
    differences += auc_differences(
      kind, scores, results.faces.people, more_is_better=kind == IDENTITY
    )
  return [differences_table(differences)] if differences else []


def _presets(results: FaceResults) -> Table:
  names = list(dict.fromkeys(name for _, name in results.presets))
  rows = []
  for preset in PRESETS:
    found = [results.presets[preset, name].accuracy for name in names]
    rows.append((preset, *(mean_std(s.mean, s.std) for s in found)))
  return Table(
    ("", *names),
    rows,
    caption=(
      "Accuracy of the identity code with the mirrored photo's, percent, by"
      " how published work joins both and chooses the threshold"
    ),
  )


def _galleries(results: FaceResults) -> Table:
  galleries = results.galleries or {}
  rows: list[Row] = [
    (name, found.rank_1, *map(float, found.tar_at_far))
    for name, found in galleries.items()
  ]
  found = next(iter(galleries.values()))
  return Table(
    ("", "rank 1", "TAR@FAR10%", "TAR@FAR1%"),
    rows,
    caption=(
      f"Identification, percent: {len(found.cmc)} people with one photo each in"
      f" the gallery, {found.known} photos of theirs, {found.unknown} of people"
      " who are not in it"
    ),
  )
