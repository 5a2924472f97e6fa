"""Which rows of many: evenly taken, or all of them in batches of one size."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jaxtyping import Int
import numpy as np


def evenly(count: int, most: int) -> Int[np.ndarray, "B"]:
  """At most `most` of the rows 0 to `count` - 1, the first and last among them.

  Returns:
    Ascending rows, int32; all of them where there are no more.
  """
  return np.linspace(0, count - 1, min(count, most)).round().astype(np.int32)


def equal_batches(
  rows: Int[np.ndarray, "N"], size: int
) -> Iterator[Int[np.ndarray, "B"]]:
  """Batches of one size; the last is filled up with the last row."""
  for start in range(0, len(rows), size):
    yield rows[np.minimum(np.arange(start, start + size), len(rows) - 1)]


def in_batches(
  make: Callable[[Int[np.ndarray, "B"]], Any],
  rows: Int[np.ndarray, "N"],
  size: int,
) -> Any:
  """What `make` makes of rows, a batch of one size at a time, on the host.

  Args:
    make: From B rows to arrays `[B, ...]` in any pytree; one shape, so that
      a jitted function is compiled once.
    rows: N of them, at least one.
    size: B.

  Returns:
    The same pytree of NumPy arrays `[N, ...]`.
  """
  parts = [
    jax.tree.map(np.asarray, make(batch)) for batch in equal_batches(rows, size)
  ]
  return jax.tree.map(
    lambda *leaves: np.concatenate(leaves)[: len(rows)], *parts
  )
