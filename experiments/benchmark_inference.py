r"""How long a reconstruction takes: this project's ways and PyTorch, in turn.

    python -m experiments.benchmark_inference --output=runs/inference.json

Measures the full reconstruction (uint8 crops in, codes and shapes out) at
several batch sizes: plain, with `prepare_params` and the compiler's options for
inference where these change anything, and, where PyTorch is installed (extra
`compare`), the same network there. All take turns within a round, so that they
share whatever else the machine does; compiling is measured apart.

With --params it is a trained network, and `max diff` says how far its codes and
shapes are from the plain network's at most; --dataset takes held-out crops in
place of noise. `of peak` is the plain network's arithmetic in that time, of
what square matrix products reach at the same --precision.
"""

import itertools
import json
import pathlib
from typing import Any

from absl import flags
import jax

from data_prep.stages import command_line
from disentangle3d.machine import machine_name
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.network.trunks import TRUNKS
from disentangle3d.output_files import replace_file
from disentangle3d.training.export import load_network
from disentangle3d.types import UserError
from experiments.benchmarks.inference import (
  find_methods,
  measure,
  operations,
  read_crops,
  table,
)
from experiments.benchmarks.machine import PRECISIONS, matrix_peak


def _define_flags() -> None:
  flags.DEFINE_string(
    "params", None, "A trained network; none takes fresh params of --trunks."
  )
  flags.DEFINE_string("dataset", None, "Whose held-out crops are taken.")
  flags.DEFINE_list(
    "trunks", ["sphere20", "mobile"], "Of the fresh networks, measured in turn."
  )
  flags.DEFINE_list("precision", ["float32"], "Of the fresh networks.")
  flags.DEFINE_list("batches", ["1", "8", "32", "256"], "Batch sizes.")
  flags.DEFINE_integer(
    "rounds",
    30,
    "Calls of each method; fewer for large batches.",
    lower_bound=3,
  )
  flags.DEFINE_bool("pytorch", True, "Compare, where it is installed.")
  flags.DEFINE_string("output", None, "The .json to write.")


def _networks_from_flags() -> dict[str, tuple[Any, FaceModel]]:
  values = flags.FLAGS
  if values.params:
    network = load_network(values.params)
    return {network.model.trunk: (network.params, network.model)}
  unknown = sorted(set(values.trunks) - set(TRUNKS))
  if unknown or not values.trunks:
    raise UserError(
      f"--trunks: expected some of {', '.join(TRUNKS)}, got"
      f" {', '.join(unknown) or 'none'}"
    )
  networks = {}
  for precision, trunk in itertools.product(values.precision, values.trunks):
    if precision not in PRECISIONS:
      raise UserError(
        f"--precision: expected {' or '.join(PRECISIONS)}, got {precision}"
      )
    model = FaceModel(trunk=trunk, dtype=precision)
    name = trunk if precision == PRECISIONS[0] else f"{trunk}, {precision}"
    networks[name] = init_params(jax.random.key(0), model), model
  return networks


def main() -> None:
  """Measures and prints."""
  values = flags.FLAGS
  if not all(text.isdecimal() and int(text) for text in values.batches):
    raise UserError(
      f"--batches: expected numbers from 1, got {','.join(values.batches)}"
    )
  batches = [int(text) for text in values.batches]
  crops = read_crops(values.dataset, max(batches))
  networks = _networks_from_flags()
  methods = {
    name: find_methods(*network, pytorch=values.pytorch)
    for name, network in networks.items()
  }
  peaks = {
    precision: matrix_peak(jax.devices()[:1], precision)
    for precision in {model.dtype for _, model in networks.values()}
  }
  results = {}
  for batch in batches:
    rounds = max(3, min(values.rounds, 64 * values.rounds // batch))
    rows = measure(methods, crops[:batch], rounds=rounds)
    for name, (params, model) in networks.items():
      work = operations(params, model, batch)
      for row in rows[name].values():
        row["peak_share"] = work / row["p50_ms"] * 1e3 / peaks[model.dtype]
    results[str(batch)] = rows
  print(f"{', '.join(methods)} on {machine_name()}")
  print(table(results))
  if values.output:
    output = pathlib.Path(values.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    about = {
      "machine": machine_name(),
      "jax": jax.__version__,
      "params": values.params,
      "dataset": values.dataset,
      "results": results,
    }
    replace_file(output, json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
