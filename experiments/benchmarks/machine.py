"""What the matrix units of a machine reach."""

from collections.abc import Sequence
import time

import jax
import jax.numpy as jnp

from disentangle3d.training.placement import over_devices

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
  seconds = []
  for _ in range(rounds):
    start = time.perf_counter()
    jax.block_until_ready([run(matrix, matrix) for _ in range(_PRODUCTS)])
    seconds.append(time.perf_counter() - start)
  return len(devices) * _PRODUCTS * 2 * size**3 / min(seconds)
