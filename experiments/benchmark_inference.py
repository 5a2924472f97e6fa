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

from collections.abc import Callable, Mapping
import functools
import importlib.util
import itertools
import json
import pathlib
import time
from typing import Any

from absl import flags
import jax
import jax.numpy as jnp
from jaxtyping import UInt8
import numpy as np

from data_prep import command_line
from data_prep.output_files import replace_file
from disentangle3d.inference import prepare_params, reconstruct
from disentangle3d.network.compilation import (
  cpu_compiler_options,
  inference_compiler_options,
)
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.network.operations import count_operations
from disentangle3d.network.trunks import TRUNKS
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.export import load_export
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import decode_image
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH
from experiments.machine import PRECISIONS, machine_name, matrix_peak

PLAIN, PREPARED, PYTORCH = "plain", "prepared", "PyTorch"
_CROP = (IMAGE_HEIGHT, IMAGE_WIDTH, 3)
# Takes uint8 crops [B, 112, 96, 3], gives codes [B, I + E], identity first, and
# shapes [B, V, 3], when they are there.
Method = Callable[[Any], tuple[Any, Any]]
# By trunk, then by way.
Methods = Mapping[str, Mapping[str, Method]]
Rows = Mapping[str, Mapping[str, Mapping[str, float]]]


def jax_method(
  params: Any, model: FaceModel, options: Mapping[str, Any]
) -> Method:
  """`reconstruct` under jit with the compiler's options."""
  placed = jax.device_put(params)
  run = jax.jit(
    functools.partial(_codes_and_shapes, model=model),
    compiler_options=dict(options),
  )

  def method(images: np.ndarray | jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.block_until_ready(run(placed, images))

  return method


def _codes_and_shapes(
  params: Any, images: jax.Array, *, model: FaceModel
) -> tuple[jax.Array, jax.Array]:
  faces = reconstruct(params, images, model=model)
  codes = faces.latents
  return jnp.concatenate([codes.identity, codes.residual], -1), faces.shape


def operations(params: Any, model: FaceModel, batch: int) -> float:
  """Of a plain reconstruction of a batch."""
  images = jax.ShapeDtypeStruct((batch, *_CROP), jnp.uint8)
  plain = functools.partial(_codes_and_shapes, model=model)
  return count_operations(plain, params, images)


def find_methods(
  params: Any, model: FaceModel, *, pytorch: bool = True
) -> dict[str, Method]:
  """What can be measured of a network on this machine."""
  options = cpu_compiler_options()
  methods = {PLAIN: jax_method(params, model, options)}
  faster = prepare_params(params, model=model), inference_compiler_options()
  if faster[0] is not params or faster[1] != options:
    methods[PREPARED] = jax_method(faster[0], model, faster[1])
  if pytorch and importlib.util.find_spec("torch"):
    # PyTorch is not installed for anything else.
    from experiments.torch_inference import is_comparable, torch_method

    if is_comparable():
      methods[PYTORCH] = torch_method(params, model)
  return methods


def measure(
  methods: Methods, images: UInt8[np.ndarray, "B 112 96 3"], *, rounds: int
) -> dict[str, dict[str, dict[str, float]]]:
  """Times the methods of some networks in turn.

  Args:
    methods: By trunk and way, the plain way first.
    images: One batch; where there is an accelerator, it lies there before.
    rounds: Calls of each, after the first.

  Returns:
    For each first_call_s, p50_ms, p95_ms, and how far codes and shapes are
    from those of the trunk's first way at most: difference_code,
    difference_mm.
  """
  rows: dict[str, dict[str, dict[str, float]]] = {}
  if jax.default_backend() != "cpu":
    images = jax.device_put(images)
  for trunk, ways in methods.items():
    rows[trunk] = {}
    made = {}
    for way, method in ways.items():
      start = time.perf_counter()
      made[way] = method(images)
      rows[trunk][way] = {"first_call_s": time.perf_counter() - start}
      codes, shape = (
        float(np.abs(np.asarray(got) - np.asarray(plain)).max())
        for got, plain in zip(made[way], next(iter(made.values())), strict=True)
      )
      rows[trunk][way] |= {"difference_code": codes, "difference_mm": shape}
  turns = [
    (trunk, way, method)
    for trunk, ways in methods.items()
    for way, method in ways.items()
  ]
  times: dict[tuple[str, str], list[float]] = {turn[:2]: [] for turn in turns}
  for _ in range(rounds):
    for trunk, way, method in turns:
      start = time.perf_counter()
      method(images)
      times[trunk, way].append(1e3 * (time.perf_counter() - start))
  for (trunk, way), taken in times.items():
    rows[trunk][way] |= {
      "p50_ms": float(np.percentile(taken, 50)),
      "p95_ms": float(np.percentile(taken, 95)),
    }
  return rows


def table(results: Mapping[str, Rows]) -> str:
  """The figures as lines of text.

  `/first` is the median over the first row's of the batch, `/PyTorch` over the
  same network's in PyTorch; `of peak` is what the plain network's arithmetic in
  that time is of the matrix peak.
  """
  width = max(len(trunk) for rows in results.values() for trunk in rows)
  width = max(width, len("trunk   "))
  lines = [
    f"batch  {'trunk':<{width}}  method      p50 ms    p95 ms  /first  /PyTorch"
    "  first s  max diff: code       mm  images/s  of peak"
  ]
  for batch, rows in results.items():
    first = next(iter(next(iter(rows.values())).values()))["p50_ms"]
    for trunk, ways in rows.items():
      for way, row in ways.items():
        ratio = share = "–"
        if "peak_share" in row:
          share = f"{row['peak_share']:.0%}"
        if PYTORCH in ways:
          ratio = f"{row['p50_ms'] / ways[PYTORCH]['p50_ms']:.2f}"
        lines.append(
          f"{batch:>5}  {trunk:<{width}}  {way:<9}{row['p50_ms']:9.2f}"
          f" {row['p95_ms']:9.2f}  {row['p50_ms'] / first:6.2f}  {ratio:>8}"
          f"  {row['first_call_s']:7.2f}  {row['difference_code']:14.1e}"
          f"  {row['difference_mm']:.1e}"
          f"  {1e3 * int(batch) / row['p50_ms']:8.0f}  {share:>7}"
        )
  return "\n".join(lines)


def read_crops(
  dataset: str | pathlib.Path | None, count: int
) -> UInt8[np.ndarray, "B 112 96 3"]:
  """A batch: held-out crops, again from the first if too few, or noise.

  Raises:
    FileNotFoundError: A file of the dataset is missing.
    ValueError: The dataset is damaged.
  """
  if dataset is None:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 112, 96, 3), np.uint8)
  reader = RecordReader(open_dataset(dataset, "heldout", verify=False))
  rows = np.arange(count) % len(reader)
  records = reader.read_records(rows)
  return np.stack([decode_image(record["image"]) for record in records])


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
    network = load_export(values.params)
    return {network.model.trunk: (network.params, network.model)}
  unknown = sorted(set(values.trunks) - set(TRUNKS))
  if unknown or not values.trunks:
    raise ValueError(
      f"--trunks: expected some of {', '.join(TRUNKS)}, got"
      f" {', '.join(unknown) or 'none'}"
    )
  networks = {}
  for precision, trunk in itertools.product(values.precision, values.trunks):
    if precision not in PRECISIONS:
      raise ValueError(
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
    raise ValueError(
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
    replace_file(output, (json.dumps(about, indent=1) + "\n").encode())


if __name__ == "__main__":
  command_line.run(main, _define_flags)
