"""What the matrix units of a machine reach."""

from collections.abc import Sequence

from absl import flags
import jax
import jax.numpy as jnp

from disentangle3d.training.placement import over_devices
from disentangle3d.types import UserError
from experiments.benchmarks.timing import time_calls

flags.disclaim_key_flags()

PRECISIONS = ("float32", "bfloat16")
# Large enough that a product is limited by arithmetic alone.
_MATRIX = {"cpu": 2048}
_ACCELERATOR_MATRIX = 8192
# Products handed over at once, so that the host's part of each is hidden.
_PRODUCTS = 4


def matrix_peak(
  devices: Sequence[jax.Device],
  precision: str,
  *,
  size: int = 0,
  rounds: int = 5,
) -> float:
  """Operations a second of square matrix products, on all devices at once.

  Args:
    devices: All of one kind.
    precision: "float32" or "bfloat16".
    size: Of the matrices; 0: by the kind of devices.
    rounds: Of which the fastest counts.
  """
  size = size or _MATRIX.get(devices[0].platform, _ACCELERATOR_MATRIX)

  def product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=a.dtype)

  run = over_devices(product, devices)
  key = jax.random.key(0)
  shape = (len(devices), size, size)
  matrix = jax.random.normal(key, shape, jnp.float32).astype(precision)
  matrix = jax.block_until_ready(run(matrix, matrix) / size)
  timing = time_calls(
    lambda: [run(matrix, matrix) for _ in range(_PRODUCTS)],
    rounds=rounds,
    warmup=0,
  )
  return len(devices) * _PRODUCTS * 2 * size**3 / min(timing.wall_s)


def define_cpu_devices() -> None:
  """Defines --cpu_devices; hand it to `use_cpu_devices` before all else."""
  flags.DEFINE_integer(
    "cpu_devices",
    0,
    "How many fake CPU devices to run on; 0 runs on what is there.",
    lower_bound=0,
  )


def define_link() -> None:
  """Defines what connects devices; see `scaling.Link`."""
  flags.DEFINE_float(
    "link_gb_s",
    50.0,
    "What a device sends a second over the slowest link on the way, in 1e9"
    " bytes; 50 is 400 Gbit/s.",
    lower_bound=1e-6,
  )
  flags.DEFINE_float(
    "link_latency_us",
    5.0,
    "Microseconds until a first byte arrives.",
    lower_bound=0.0,
  )


def use_cpu_devices(count: int) -> None:
  """Computes on so many fake CPU devices; 0 leaves what is there."""
  if count:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)


def check_precisions(names: Sequence[str]) -> None:
  """Raises a UserError unless all are known, and there is one."""
  unknown = sorted(set(names) - set(PRECISIONS))
  if unknown or not names:
    raise UserError(
      f"--precision: expected {' or '.join(PRECISIONS)}, got"
      f" {', '.join(unknown) or 'none'}"
    )
