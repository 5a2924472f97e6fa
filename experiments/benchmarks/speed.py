"""Table 4: how long a photo takes, by part."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.inference import decode, encode, reconstruct
from disentangle3d.machine import machine_name
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel
from disentangle3d.reporting.html_page import Block, Paragraph, Section, Table
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH
from experiments.benchmarks.timing import Timing, time_calls
from experiments.pages.findings import Findings
from experiments.pages.paper_tables import TABLE_4, paper_table

TITLE = "Timing"

_WARM_UP = 3
_PERCENTILES = (25, 50, 75, 95)


@dataclasses.dataclass(frozen=True)
class ImageTiming:
  """What an image takes.

  Attributes:
    batch_size: Images a call.
    timing: Of the calls.
  """

  batch_size: int
  timing: Timing

  @property
  def each_ms(self) -> np.ndarray:
    """Milliseconds an image, of each call."""
    return 1e3 * np.array(self.timing.wall_s) / self.batch_size

  @property
  def mean_ms(self) -> float:
    """Milliseconds of all calls over the images."""
    return float(self.each_ms.mean())


def time_network(
  model: FaceModel, params: Any, *, batch_size: int, images: int
) -> dict[str, ImageTiming]:
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

  def fetched(run: Callable[..., Any], given: Any) -> Any:
    return jax.device_get(run(params, given))

  codes = jax.device_get(encoder(params, jnp.asarray(photos)))
  parts = {
    "image to 3D face": (whole, photos),
    "encoder": (encoder, photos),
    "decoders": (decoders, codes),
  }
  return {
    name: ImageTiming(
      batch_size,
      time_calls(
        functools.partial(fetched, run, given),
        rounds=-(-images // batch_size),
        warmup=_WARM_UP,
      ),
    )
    for name, (run, given) in parts.items()
  }


def timing_table(found: Sequence[tuple[str, ImageTiming]]) -> Table:
  """One row a part and batch size."""
  rows = [
    (
      name,
      one.batch_size,
      len(one.each_ms) * one.batch_size,
      one.mean_ms,
      *np.percentile(one.each_ms, _PERCENTILES).tolist(),
    )
    for name, one in found
  ]
  return Table(
    ("", "batch", "images", "mean", *(f"p{p}" for p in _PERCENTILES)),
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
    images: How many are timed at least, in whole batches.
  """
  found: list[tuple[str, ImageTiming]] = []
  for batch_size in batches:
    timings = time_network(model, params, batch_size=batch_size, images=images)
    for name, one in timings.items():
      found.append((name, one))
      middle, late = np.percentile(one.each_ms, (50, 95))
      print(
        f"{name}, batch {batch_size}: {one.mean_ms:.2f} ms an image (p50"
        f" {middle:.2f}, p95 {late:.2f})",
        flush=True,
      )
  whole = [one for name, one in found if name == "image to 3D face"]
  best = min(whole, key=lambda one: one.mean_ms)
  what = f"{model.trunk}, {model.num_vertices:,} vertices, {machine_name()}"
  rows = {
    f"{what}, batch {one.batch_size}": (one.mean_ms,)
    for one in dict.fromkeys((whole[0], best))
  }
  blocks: list[Block] = [
    Paragraph(f"{what}, JAX {jax.__version__}."),
    timing_table(found),
    paper_table(TABLE_4, rows),
  ]
  return Findings(TITLE, [Section(TITLE, blocks)], {TABLE_4: rows})
