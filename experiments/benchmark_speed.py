r"""The paper's Table 4: milliseconds an image, on this device.

    python -m experiments.benchmark_speed --network=runs/demo/training \
      --output=runs/demo/evaluation/timing

700 images from memory to 3D faces in memory, as the paper measured, one at a
time and in batches, with the encoder and the decoders by themselves. Without
`--network` a network of the paper's sizes with random params, which is as
fast as a trained one.
"""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib
import time
from typing import Any

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from data_prep import command_line
from disentangle3d.inference import decode, encode, reconstruct
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.reporting.html_page import Paragraph, Section, Table
from disentangle3d.training.export import load_export
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH
from experiments.machine import machine_name
from experiments.paper_figures import TABLE_4, paper_table
from experiments.saved_sections import (
  PAGE,
  Findings,
  check_output,
  save_findings,
)


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
    ValueError: A number is not positive.
  """
  if batch_size < 1 or images < 1 or warmup < 1:
    raise ValueError(
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

  whole, encoder, decoders = map(program, (reconstruct, encode, decode))
  codes = jax.device_get(encoder(params, jnp.asarray(photos)))
  parts = {
    "image to 3D face": (whole, photos),
    "encoder": (encoder, photos),
    "decoders": (decoders, codes),
  }
  return {
    name: time_calls(
      lambda _, run=run, given=given: jax.device_get(run(params, given)),
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
  blocks = [
    Paragraph(f"{what}, JAX {jax.__version__}."),
    timing_table(found),
    paper_table(TABLE_4, rows),
  ]
  return Findings("Timing", [Section("Timing", blocks)], {TABLE_4: rows})


def _define_flags() -> None:
  flags.DEFINE_string("network", None, "A workdir or an export; else random.")
  flags.DEFINE_string("trunk", "sphere20", "Of the random network.")
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_integer("images", 700, "To time, at least.")
  flags.DEFINE_multi_integer("batch", [1, 8, 32], "Batch sizes to try.")


def main() -> None:
  """Reads the flags, times, writes the folder, prints the table."""
  values = flags.FLAGS
  check_output(values.output)
  if values.network is not None:
    export = load_export(values.network)
    model, params = export.model, export.params
  else:
    model = FaceModel(trunk=values.trunk)
    params = init_params(jax.random.key(0), model)
  findings = timing_findings(
    model, params, batches=values.batch, images=values.images
  )
  output = pathlib.Path(values.output)
  save_findings(output, findings)
  print(f"benchmark_speed: open {output / PAGE}")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
