"""Reconstruction timed in turn: plain, prepared, and in PyTorch."""

from collections.abc import Callable, Mapping
import functools
import importlib.util
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import UInt8
import numpy as np

from disentangle3d.inference import cast_params, prepare_params, reconstruct
from disentangle3d.network.compilation import (
  cpu_compiler_options,
  inference_compiler_options,
)
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.operations import count_operations
from disentangle3d.reporting.html_page import Row, Table
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import decode_image
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH
from experiments.benchmarks.timing import time_in_turn

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
  prepared = prepare_params(cast_params(params, model=model), model=model)
  faster = inference_compiler_options()
  if prepared is not params or faster != options:
    methods[PREPARED] = jax_method(prepared, model, faster)
  if pytorch and importlib.util.find_spec("torch"):
    # PyTorch is not installed for anything else.
    from experiments.benchmarks.torch_inference import (
      is_comparable,
      torch_method,
    )

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
    For each first_call_s, `Timing.milliseconds`, and how far codes and shapes
    are from those of the trunk's first way at most: difference_code,
    difference_mm.
  """
  if jax.default_backend() != "cpu":
    images = jax.device_put(images)
  timings = time_in_turn(
    {
      f"{trunk}/{way}": functools.partial(method, images)
      for trunk, ways in methods.items()
      for way, method in ways.items()
    },
    rounds=rounds,
  )
  rows: dict[str, dict[str, dict[str, float]]] = {}
  for trunk, ways in methods.items():
    rows[trunk], first = {}, None
    for way, method in ways.items():
      made = [np.asarray(part) for part in method(images)]
      first = made if first is None else first
      codes, shape = (
        float(np.abs(got - plain).max())
        for got, plain in zip(made, first, strict=True)
      )
      timing = timings[f"{trunk}/{way}"]
      rows[trunk][way] = {
        "first_call_s": timing.first_s,
        "difference_code": codes,
        "difference_mm": shape,
        **timing.milliseconds(),
      }
  return rows


def table(results: Mapping[str, Rows]) -> Table:
  """The figures.

  `/first` is the median over the first row's of the batch, `/PyTorch` over the
  same network's in PyTorch; `of peak` is what the plain network's arithmetic in
  that time is of the matrix peak.
  """
  lines: list[Row] = []
  for batch, rows in results.items():
    first = next(iter(next(iter(rows.values())).values()))["p50_ms"]
    for trunk, ways in rows.items():
      for way, row in ways.items():
        middle = row["p50_ms"]
        ratio: str | None = None
        share: str | None = None
        if "peak_share" in row:
          share = f"{row['peak_share']:.0%}"
        if PYTORCH in ways:
          ratio = f"{middle / ways[PYTORCH]['p50_ms']:.2f}"
        lines.append(
          (
            *(batch, trunk, way),
            *(row[f"p{percent}_ms"] for percent in (25, 50, 75, 95)),
            *(middle / first, ratio, row["first_call_s"]),
            f"{row['difference_code']:.1e}",
            f"{row['difference_mm']:.1e}",
            *(round(1e3 * int(batch) / middle), share),
          )
        )
  return Table(
    (
      *("batch", "trunk", "method", "p25, ms", "p50, ms", "p75, ms"),
      *("p95, ms", "/first", "/PyTorch", "first call, s"),
      *("max diff: code", "mm", "images/s", "of peak"),
    ),
    lines,
    text_columns=(1, 2),
  )


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
