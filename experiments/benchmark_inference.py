r"""How long a reconstruction takes: this project's ways and PyTorch, in turn.

    python -m experiments.benchmark_inference --output=runs/inference

Measures the full reconstruction (uint8 crops in, codes and shapes out) at
several batch sizes: plain, with `prepare_params` and the compiler's options for
inference where these change anything, and, where PyTorch is installed (extra
`compare`), the same network there. All take turns within a round, so that they
share whatever else the machine does; compiling is measured apart.

With --network it is a trained network, and `max diff` says how far its codes
and shapes are from the plain network's at most; --dataset takes held-out crops
in place of noise. `of peak` is the plain network's arithmetic in that time, of
what square matrix products reach at the same --precision.
"""

import itertools
from typing import Any

from absl import flags
import jax

from data_prep.stages import command_line
from data_prep.stages.flag_values import numbers_of
from data_prep.stages.flag_words import (
  define_batch_sizes,
  define_dataset,
  define_network,
  was,
)
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.network.trunks import TRUNKS
from disentangle3d.training.export import load_network
from disentangle3d.types import UserError
from experiments.benchmarks.inference import (
  find_methods,
  measure,
  operations,
  read_crops,
  table,
)
from experiments.benchmarks.machine import (
  PRECISIONS,
  check_precisions,
  matrix_peak,
)
from experiments.benchmarks.results import define_figures_output, publish
from experiments.sets.networks import check_crops


def define_flags() -> None:
  """Defines what is timed, on what and how often."""
  define_network(
    "A trained network, a training workdir or an exported folder; without it,"
    " fresh params of --trunks."
  )
  define_dataset("The dataset whose held-out crops are taken.", required=False)
  flags.DEFINE_list(
    "trunks",
    ["sphere20", "mobile"],
    "The trunks of the fresh networks, which are measured in turn.",
  )
  flags.DEFINE_list(
    "precision",
    ["float32"],
    "The precisions of the fresh networks, float32, bfloat16 or both.",
  )
  define_batch_sizes((1, 8, 32, 256), "The batch sizes, one after the other.")
  flags.DEFINE_integer(
    "rounds",
    30,
    "How often each method is called; large batches are called less often.",
    lower_bound=3,
  )
  flags.DEFINE_bool(
    "pytorch", True, "Whether to compare with PyTorch where it is installed."
  )
  define_figures_output()
  was(params="network", batches="batch_sizes")


def _networks() -> dict[str, tuple[Any, FaceModel]]:
  values = flags.FLAGS
  if values.network:
    network = load_network(values.network)
    if values.dataset:
      check_crops({network.model.trunk: network}, values.dataset)
    return {network.model.trunk: (network.params, network.model)}
  unknown = sorted(set(values.trunks) - set(TRUNKS))
  if unknown or not values.trunks:
    raise UserError(
      f"--trunks: expected some of {', '.join(TRUNKS)}, got"
      f" {', '.join(unknown) or 'none'}"
    )
  check_precisions(values.precision)
  networks = {}
  for precision, trunk in itertools.product(values.precision, values.trunks):
    model = FaceModel(trunk=trunk, dtype=precision)
    name = trunk if precision == PRECISIONS[0] else f"{trunk}, {precision}"
    networks[name] = init_params(jax.random.key(0), model), model
  return networks


def main() -> None:
  """Measures, prints and writes."""
  values = flags.FLAGS
  batch_sizes = numbers_of("batch_sizes", values.batch_sizes)
  crops = read_crops(values.dataset, max(batch_sizes))
  networks = _networks()
  methods = {
    name: find_methods(*network, pytorch=values.pytorch)
    for name, network in networks.items()
  }
  peaks = {
    precision: matrix_peak(jax.devices()[:1], precision)
    for precision in {model.dtype for _, model in networks.values()}
  }
  results = {}
  for batch in batch_sizes:
    rounds = max(3, min(values.rounds, 64 * values.rounds // batch))
    rows = measure(methods, crops[:batch], rounds=rounds)
    for name, (params, model) in networks.items():
      work = operations(params, model, batch)
      for row in rows[name].values():
        row["peak_share"] = work / row["p50_ms"] * 1e3 / peaks[model.dtype]
    results[str(batch)] = rows
  publish(
    f"Reconstruction, {', '.join(methods)}",
    [table(results)],
    results,
    output=values.output,
    name="inference",
  )


if __name__ == "__main__":
  command_line.run(main, define_flags, keeps_programs=False)
