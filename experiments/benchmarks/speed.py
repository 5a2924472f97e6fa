"""Table 4: how long a photo takes, by part."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.inference import decode, encode, reconstruct
from disentangle3d.machine import machine_name
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.reporting.html_page import Block, Paragraph, Section, Table
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError
from experiments.pages.findings import (
  Findings,
)
from experiments.pages.paper_tables import TABLE_4, paper_table


@dataclasses.dataclass(frozen=True)
class Timing:
  """Milliseconds an image, over the calls of one program.

  Attributes:
    batch_size: Images a call.
    images: In all, after the warm-up.
    mean: Time of all calls over the images.
    p50: Median call over its images.
    p95: 95th percentile.
  """

  batch_size: int
  images: int
  mean: float
  p50: float
  p95: float


def time_calls(
  call: Callable[[int], Any],
  *,
  batch_size: int,
  images: int,
  warmup: int = 3,
  clock: Callable[[], float] = time.perf_counter,
) -> Timing:
  """Times `call(number)`, which must not return before its work is done.

  Args:
    call: Works on one batch.
    batch_size: Images a call.
    images: At least so many, in whole batches.
    warmup: Calls before the first that counts (the first one compiles).
    clock: Seconds.

  Returns:
    `Timing`.

  Raises:
    UserError: A number is not positive.
  """
  if batch_size < 1 or images < 1 or warmup < 1:
    raise UserError(
      "batch_size, images, warmup: expected at least 1, got"
      f" {batch_size}, {images}, {warmup}"
    )
  for number in range(warmup):
    call(number)
  took = []
  for number in range(-(-images // batch_size)):
    start = clock()
    call(number)
    took.append(1000 * (clock() - start))
  each = np.array(took) / batch_size
  return Timing(
    batch_size=batch_size,
    images=len(took) * batch_size,
    mean=float(each.mean()),
    p50=float(np.percentile(each, 50)),
    p95=float(np.percentile(each, 95)),
  )


def time_network(
  model: FaceModel, params: Any, *, batch_size: int, images: int
) -> dict[str, Timing]:
  """The whole way and its parts, from host memory to host memory."""
  rng = np.random.default_rng(0)
  photos = rng.integers(
    0, 256, (batch_size, IMAGE_HEIGHT, IMAGE_WIDTH, 3), np.uint8
  )
  params = jax.tree.map(jnp.asarray, params)

  def program(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(
      lambda params, argument: function(params, argument, model=model),
      compiler_options=cpu_compiler_options(),
    )

  whole, encoder, decoders = (
    program(function) for function in (reconstruct, encode, decode)
  )

  def fetched(run: Callable[..., Any], given: Any, _: int) -> Any:
    return jax.device_get(run(params, given))

  codes = jax.device_get(encoder(params, jnp.asarray(photos)))
  parts = {
    "image to 3D face": (whole, photos),
    "encoder": (encoder, photos),
    "decoders": (decoders, codes),
  }
  return {
    name: time_calls(
      functools.partial(fetched, run, given),
      batch_size=batch_size,
      images=images,
    )
    for name, (run, given) in parts.items()
  }


def timing_table(found: Sequence[tuple[str, Timing]]) -> Table:
  """One row a part and batch size."""
  rows = [
    (name, t.batch_size, t.images, t.mean, t.p50, t.p95) for name, t in found
  ]
  return Table(
    ("", "batch", "images", "mean", "p50", "p95"),
    rows,
    caption="Milliseconds an image after a warm-up, host memory to host memory",
  )


def timing_findings(
  model: FaceModel, params: Any, *, batches: Sequence[int], images: int
) -> Findings:
  """Times a network at some batch sizes: Table 4; says each as it comes.

  Args:
    model: The network.
    params: Its parameters.
    batches: Batch sizes; the first and the fastest go into the paper's table.
    images: See `time_calls`.
  """
  found: list[tuple[str, Timing]] = []
  for batch_size in batches:
    timings = time_network(model, params, batch_size=batch_size, images=images)
    for name, timing in timings.items():
      found.append((name, timing))
      print(
        f"{name}, batch {batch_size}: {timing.mean:.2f} ms an image (p50"
        f" {timing.p50:.2f}, p95 {timing.p95:.2f})",
        flush=True,
      )
  whole = [timing for name, timing in found if name == "image to 3D face"]
  best = min(whole, key=lambda timing: timing.mean)
  what = f"{model.trunk}, {model.num_vertices:,} vertices, {machine_name()}"
  rows = {
    f"{what}, batch {timing.batch_size}": (timing.mean,)
    for timing in dict.fromkeys((whole[0], best))
  }
  blocks: list[Block] = [
    Paragraph(f"{what}, JAX {jax.__version__}."),
    timing_table(found),
    paper_table(TABLE_4, rows),
  ]
  return Findings("Timing", [Section("Timing", blocks)], {TABLE_4: rows})
