"""Which part of a checkpoint is a network's state dict.

Training scripts keep it beside optimizers, counters and options, under names
of their own. It is told by what it holds: tensors, more than any other mapping.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from disentangle3d.types import UserError

# What holders of a network call it. Any other name that all tensors begin with
# is taken for a holder's too, where a layer's name is left.
_HOLDERS = ("module", "model", "net", "network", "backbone", "_orig_mod")


def find_state_dict(
  saved: Any, *, entry: str | None = None
) -> dict[str, np.ndarray]:
  """The arrays of the mapping that holds most of them.

  Args:
    saved: Mappings and sequences in each other, with arrays.
    entry: Where the mapping is, keys with dots between them as an error names
      them; None finds it.

  Returns:
    Name to array, in the mapping's order, without the names that all have in
    front (`module.`, `model.`); what is no array is left out.

  Raises:
    UserError: There is no array, two mappings hold as many, or `entry` names
      none of them.
  """
  found = {place or ".": arrays for place, arrays in _mappings(saved)}
  if not found:
    raise UserError(
      "expected a state dict, as torch.save(network.state_dict(), ...) writes,"
      " got no tensor in it"
    )
  if entry is None:
    most = max(len(arrays) for arrays in found.values())
    places = [p for p, arrays in found.items() if len(arrays) == most]
    if len(places) > 1:
      raise UserError(
        f"expected one state dict, got {len(places)} of {most} tensors each:"
        f" {', '.join(places)}; choose one with --entry"
      )
    entry = places[0]
  if entry not in found:
    raise UserError(
      f"expected a state dict under {entry!r}, there is one under"
      f" {', '.join(found)}"
    )
  return _without_holders(found[entry])


def _mappings(
  saved: Any, place: str = ""
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
  """Every mapping with arrays in it, and where it is."""
  if isinstance(saved, Mapping):
    arrays = {
      str(name): value
      for name, value in saved.items()
      if isinstance(value, np.ndarray)
    }
    if arrays:
      yield place, arrays
    below = list(saved.items())
  elif isinstance(saved, list | tuple):
    below = list(enumerate(saved))
  else:
    return
  for key, value in below:
    yield from _mappings(value, f"{place}.{key}" if place else str(key))


def _without_holders(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  while True:
    names = [name.split(".") for name in arrays]
    first = names[0][0]
    shortest = min(len(name) for name in names)
    if any(name[0] != first for name in names) or shortest < (
      2 if first in _HOLDERS else 3
    ):
      return arrays
    arrays = {n.partition(".")[2]: array for n, array in arrays.items()}
