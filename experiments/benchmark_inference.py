r"""How long a reconstruction takes: this project's ways and PyTorch, in turn.

    python -m experiments.benchmark_inference --output=runs/inference.json

Measures the full reconstruction (uint8 crops in, shapes out) at several batch
sizes: plain, on CPU with `prepare_params` as well, and, where PyTorch is
installed (extra `compare`), the same network there. All methods take turns
within a round, so that they share whatever else the machine does; compiling is
measured apart.
"""

from collections.abc import Callable, Mapping
import importlib.util
import json
import os
import pathlib
import time
from typing import Any

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from data_prep import command_line
from data_prep.output_files import replace_file
from disentangle3d.inference import prepare_params, reconstruct
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.network.sphereface import PRESETS
from disentangle3d.training.export import load_export
from experiments.machine import machine_name

# Takes crops, gives [B, V, 3] and waits for it.
Method = Callable[[np.ndarray], np.ndarray]
PLAIN, PREPARED, PYTORCH = "plain", "prepared", "PyTorch"


def jax_method(params: Any, model: FaceModel) -> Method:
  """`reconstruct` under jit."""
  placed = jax.device_put(params)
  run = jax.jit(
    lambda params, images: reconstruct(params, images, model=model),
    compiler_options=cpu_compiler_options(),
  )

  def method(images: np.ndarray) -> np.ndarray:
    faces = run(placed, jnp.asarray(images))
    jax.block_until_ready(faces)
    return faces.shape

  return method


def torch_method(params: Mapping[str, Any], model: FaceModel) -> Method:
  """The same network in PyTorch, channel-first, on the CPU.

  Args:
    params: Parameters of `model`, a SphereFace.
    model: The network.

  Returns:
    The method; it gives what `reconstruct` gives.
  """
  # PyTorch is not installed for anything else.
  import torch

  from experiments.torch_network import decode, encode, tensors_of_network

  torch.set_num_threads(os.cpu_count() or 1)
  units = PRESETS[model.trunk].units
  weights = tensors_of_network(params)
  mean = weights.pop("mean_shape")

  def method(images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
      image = torch.from_numpy(images)
      codes = encode(weights["encoder"], image, units)
      shape = decode(weights, mean, *codes)
      return shape.reshape(len(images), -1, 3).numpy()

  return method


def measure(
  methods: Mapping[str, Method], images: np.ndarray, *, rounds: int
) -> dict[str, dict[str, float]]:
  """Times the methods in turn.

  Args:
    methods: By name.
    images: One batch.
    rounds: Calls of each, after the first.

  Returns:
    For each method first_call_s, p50_ms, p95_ms, and how far its shapes are
    from the first method's at most, difference_mm.
  """
  firsts, shapes = {}, {}
  for name, method in methods.items():
    start = time.perf_counter()
    shapes[name] = np.asarray(method(images))
    firsts[name] = time.perf_counter() - start
  times: dict[str, list[float]] = {name: [] for name in methods}
  for _ in range(rounds):
    for name, method in methods.items():
      start = time.perf_counter()
      method(images)
      times[name].append(1e3 * (time.perf_counter() - start))
  reference = next(iter(shapes.values()))
  return {
    name: {
      "first_call_s": firsts[name],
      "p50_ms": float(np.percentile(times[name], 50)),
      "p95_ms": float(np.percentile(times[name], 95)),
      "difference_mm": float(np.abs(shapes[name] - reference).max()),
    }
    for name in methods
  }


def find_methods(params: Any, model: FaceModel) -> dict[str, Method]:
  """What can be measured on this machine."""
  methods = {PLAIN: jax_method(params, model)}
  prepared = prepare_params(params, model=model)
  if prepared is not params:
    methods[PREPARED] = jax_method(prepared, model)
  if importlib.util.find_spec("torch"):
    methods[PYTORCH] = torch_method(params, model)
  return methods


def table(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
  """The figures as lines of text; ratios are to PyTorch's median."""
  lines = ["batch  method      p50 ms    p95 ms  ratio  first s  max diff mm"]
  for batch, rows in results.items():
    for name, row in rows.items():
      ratio = "    –"
      if PYTORCH in rows:
        ratio = f"{row['p50_ms'] / rows[PYTORCH]['p50_ms']:5.2f}"
      lines.append(
        f"{batch:>5}  {name:<9}{row['p50_ms']:9.2f} {row['p95_ms']:9.2f}"
        f"  {ratio}  {row['first_call_s']:7.2f}  {row['difference_mm']:.1e}"
      )
  return "\n".join(lines)


def _define_flags() -> None:
  flags.DEFINE_string(
    "params", None, "A trained network; none takes fresh params of --trunk."
  )
  flags.DEFINE_enum(
    "trunk", "sphere20", sorted(PRESETS), "Of the fresh network."
  )
  flags.DEFINE_list("batches", ["1", "8", "32", "256"], "Batch sizes.")
  flags.DEFINE_integer(
    "rounds",
    30,
    "Calls of each method; fewer for large batches.",
    lower_bound=3,
  )
  flags.DEFINE_string("output", None, "The .json to write.")


def main() -> None:
  """Measures and prints."""
  values = flags.FLAGS
  if not all(text.isdecimal() and int(text) for text in values.batches):
    raise ValueError(
      f"--batches: expected numbers from 1, got {','.join(values.batches)}"
    )
  if values.params:
    network = load_export(values.params)
    model, params = network.model, network.params
  else:
    model = FaceModel(trunk=values.trunk)
    params = init_params(jax.random.key(0), model)
  methods = find_methods(params, model)
  rng = np.random.default_rng(0)
  results = {}
  for batch in map(int, values.batches):
    images = rng.integers(0, 256, (batch, 112, 96, 3), np.uint8)
    rounds = max(3, min(values.rounds, 64 * values.rounds // batch))
    results[str(batch)] = measure(methods, images, rounds=rounds)
  print(f"{model.trunk} on {machine_name()}")
  print(table(results))
  if values.output:
    output = pathlib.Path(values.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    about = {
      "trunk": model.trunk,
      "machine": machine_name(),
      "jax": jax.__version__,
      "results": results,
    }
    replace_file(output, (json.dumps(about, indent=1) + "\n").encode())


if __name__ == "__main__":
  command_line.run(main, _define_flags)
