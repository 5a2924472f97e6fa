"""What the codes carry: one block of tables for an evaluation's page."""

from collections.abc import Mapping

import numpy as np

from disentangle3d.faces.synthetic_world import EXPRESSION_CLASSES
from disentangle3d.reporting.html_page import Block, Table, interval, mean_std
from experiments.measures.disentanglement import (
  CODES,
  YAW_BINS_DEG,
  Disentanglement,
)
from experiments.pages.differences import auc_differences, differences_table
from experiments.sets.heldout import HeldOut


def disentanglement_blocks(
  found: Mapping[str, Disentanglement], outdoor: HeldOut
) -> list[Block]:
  """Tables of all networks, and the differences between them."""
  people = np.asarray(outdoor.photos.person)
  blocks: list[Block] = [
    code_table(found, code, len(np.unique(people))) for code in CODES
  ]
  blocks.append(swap_table(found))
  differences = [
    difference
    for code in CODES
    for difference in auc_differences(
      f"{code} code",
      {name: one.codes[code].verification for name, one in found.items()},
      people,
      more_is_better=code == "identity",
    )
  ]
  if differences:
    blocks.append(differences_table(differences))
  return blocks


def swap_table(found: Mapping[str, Disentanglement]) -> Table:
  """What is lost where one photo's residual is put on another's identity."""
  return Table(
    ("", "identity of A, residual of B", "A itself"),
    [
      (name, interval(one.swapped), interval(one.own))
      for name, one in found.items()
    ],
    caption=(
      "Swap test: RMSE in mm (liu2018) against the true combination, 95 %"
      " intervals over people. Components that are apart swap without loss."
    ),
  )


def code_table(
  found: Mapping[str, Disentanglement], code: str, people: int
) -> Table:
  """What one code of each network knows.

  Args:
    found: By network.
    code: One of `CODES`.
    people: How many were measured.
  """
  rows = []
  for name, result in found.items():
    findings = result.codes[code]
    drift = {
      int(b): float(d)
      for b, d in zip(
        findings.yaw_drift.bins, findings.yaw_drift.distance, strict=True
      )
    }
    changed = findings.expression_drift.distance[
      findings.expression_drift.bins != 0
    ]
    auc = findings.verification.result.auc
    rows.append(
      (
        name,
        findings.variance_ratio,
        mean_std(auc.mean, auc.std),
        *(drift.get(place) for place in range(1, len(YAW_BINS_DEG))),
        findings.yaw_drift.strangers,
        float(np.mean(changed)),
        findings.expression.accuracy,
        findings.expression.chance,
      )
    )
  return Table(
    (
      "",
      "variance between / within people",
      "verification AUC",
      *(f"drift, |yaw| {yaw}°" for yaw in YAW_BINS_DEG[1:]),
      "strangers",
      "drift, expression",
      "expression read out (%)",
      "chance (%)",
    ),
    rows,
    caption=(
      f"The {code} code, {people} people never trained on. Drift is 1 − cosine"
      " to the same person's frontal or neutral photos; strangers is that"
      f" distance between people. {EXPRESSION_CLASSES} expressions are read"
      " out linearly, by classifiers that saw other people."
    ),
  )
