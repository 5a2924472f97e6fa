r"""How well networks keep who it is apart from what it is doing now.

    python -m experiments.evaluate_disentanglement \
      --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --network="control: III without L_C=runs/demo/control" \
      --output=runs/demo/evaluation/disentanglement

On people of the synthetic world never trained on. The paper shows this in
pictures only.
"""

from collections.abc import Mapping
import itertools
import pathlib

from absl import flags
import numpy as np

from data_prep import command_line
from data_prep.synthetic_set import world_of
from disentangle3d.evaluation.verification import bootstrap_auc_difference
from disentangle3d.faces.synthetic_world import EXPRESSION_CLASSES
from disentangle3d.reporting.html_page import (
  Block,
  Paragraph,
  Section,
  Table,
  interval,
  mean_std,
)
from disentangle3d.training.dataset import read_manifest
from experiments.disentanglement_results import (
  CODES,
  YAW_BINS_DEG,
  Disentanglement,
  measure_disentanglement,
)
from experiments.evaluated_networks import (
  NETWORK_HELP,
  read_networks,
  settings_of,
)
from experiments.heldout import HeldOut, heldout_people
from experiments.host_memory import keep_freed_memory
from experiments.saved_sections import (
  PAGE,
  Findings,
  check_output,
  save_findings,
)
from experiments.synthetic_sets import EXPRESSION, OUTDOOR, YAW, world_of_set


def _define_flags() -> None:
  flags.DEFINE_string(
    "dataset", None, "A dataset of data_prep.render_synthetic.", required=True
  )
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_integer("people", 0, "Held-out people a set; 0 takes all.")
  flags.DEFINE_integer("swaps", 100, "Photos whose residuals are swapped.")


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the table."""
  values = flags.FLAGS
  keep_freed_memory()
  check_output(values.output)
  settings = settings_of(read_manifest(values.dataset), values.dataset)
  world, fitter = world_of(settings)
  networks = read_networks(values.network, fitter)
  outdoor, yaw, expression = (
    heldout_people(*world_of_set(name, settings, world, values.people), fitter)
    for name in (OUTDOOR, YAW, EXPRESSION)
  )
  found = {}
  for name, network in networks.items():
    found[name] = measure_disentanglement(
      network, outdoor, yaw, expression, swaps=values.swaps
    )
    for code in CODES:
      auc = found[name].codes[code].verification.result.auc
      print(
        f"{name}: {code} code: AUC {auc.mean:.2f} ± {auc.std:.2f}", flush=True
      )
  section = Section("Disentanglement", disentanglement_blocks(found, outdoor))
  output = pathlib.Path(values.output)
  save_findings(output, Findings("Disentanglement", [section], {}))
  print(f"evaluate_disentanglement: open {output / PAGE}")


def disentanglement_blocks(
  found: Mapping[str, Disentanglement], outdoor: HeldOut
) -> list[Block]:
  """Tables of all networks, and the differences between them."""
  people = outdoor.photos.person
  blocks: list[Block] = [
    _table(found, code, len(np.unique(people))) for code in CODES
  ]
  rows = [
    (
      name,
      *(
        interval(one.mean, one.low, one.high)
        for one in (result.swapped, result.own)
      ),
    )
    for name, result in found.items()
  ]
  blocks.append(
    Table(
      ("", "identity of A, residual of B", "A itself"),
      rows,
      caption=(
        "Swap test: RMSE in mm (liu2018) against the true combination, 95 %"
        " intervals over people. Components that are apart swap without loss."
      ),
    )
  )
  for code in CODES:
    blocks += _differences(found, code, people)
  return blocks


def _table(
  found: Mapping[str, Disentanglement], code: str, people: int
) -> Table:
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


def _differences(
  found: Mapping[str, Disentanglement], code: str, people: np.ndarray
) -> list[Block]:
  lines: list[Block] = []
  for first, second in itertools.combinations(reversed(list(found)), 2):
    one, other = (found[n].codes[code].verification for n in (first, second))
    difference = bootstrap_auc_difference(
      one.scores, other.scores, one.pairs, people
    )
    shown = interval(difference.mean, difference.low, difference.high)
    verdict = "no difference shown"
    if difference.low > 0 or difference.high < 0:
      verdict = "a difference"
    lines.append(
      Paragraph(
        f"AUC of the {code} code, {first} − {second}: {shown} points (95 %,"
        f" people drawn again): {verdict}."
      )
    )
  return lines


if __name__ == "__main__":
  command_line.run(main, _define_flags)
