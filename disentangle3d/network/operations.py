"""How much arithmetic a function is, on whatever device it will run.

XLA tells only of some backends, so the program itself is read. What counts is
what matrix units do: products and convolutions, two operations for each
multiply-add that touches an element of the operands. Padding, the zeros
between elements of a dilated operand, and everything elementwise count as
nothing.
"""

from collections.abc import Callable, Iterator, Sequence
import math
from typing import Any

import jax
import numpy as np


def count_operations(function: Callable[..., Any], *arguments: Any) -> float:
  """Operations of one call, from its shapes; nothing runs.

  Args:
    function: What jax can trace; of a `jax.pmap` one device's part counts.
    arguments: Arrays, or `jax.ShapeDtypeStruct` in their place.

  Returns:
    Multiplications and additions of products and convolutions. A loop whose
    end is not known counts once, of branches the largest; what nobody uses
    counts too.
  """
  return _of_program(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_program(program: Any) -> float:
  return math.fsum(_of_equation(equation) for equation in program.eqns)


def _of_equation(equation: Any) -> float:
  name, settings = equation.primitive.name, equation.params
  if name == "dot_general":
    (contracted, _), _ = settings["dimension_numbers"]
    summed = [equation.invars[0].aval.shape[axis] for axis in contracted]
    return 2.0 * math.prod(summed) * equation.outvars[0].aval.size
  if name == "conv_general_dilated":
    return _of_convolution(equation)
  inner = [_of_program(program) for program in _programs(settings)]
  if name == "cond":
    return max(inner)
  return settings["length"] * sum(inner) if name == "scan" else sum(inner)


def _programs(settings: dict[str, Any]) -> Iterator[Any]:
  for value in settings.values():
    for one in value if isinstance(value, (tuple, list)) else (value,):
      # A closed one holds an open one.
      one = getattr(one, "jaxpr", one)
      if hasattr(one, "eqns"):
        yield one


def _of_convolution(equation: Any) -> float:
  settings = equation.params
  image, kernel = (operand.aval.shape for operand in equation.invars)
  left, right, out = settings["dimension_numbers"]
  result = equation.outvars[0].aval.shape
  # Multiply-adds of one image, pair of channels and whole plane.
  plane = math.prod(
    _meetings(
      image[left[axis]],
      kernel[right[axis]],
      result[out[axis]],
      stride=settings["window_strides"][axis - 2],
      padding=settings["padding"][axis - 2],
      holes=settings["lhs_dilation"][axis - 2],
      spread=settings["rhs_dilation"][axis - 2],
    )
    for axis in range(2, len(left))
  )
  images = image[left[0]] // settings["batch_group_count"]
  # A kernel holds the channels of one group only.
  pairs = kernel[right[0]] * kernel[right[1]]
  return 2.0 * plane * images * pairs


def _meetings(
  size: int,
  window: int,
  count: int,
  *,
  stride: int,
  padding: Sequence[int],
  holes: int,
  spread: int,
) -> int:
  """How often an element of the window meets one of the image, on one axis."""
  places = stride * np.arange(count)[:, None] + spread * np.arange(window)
  places -= padding[0]
  inside = (places >= 0) & (places <= (size - 1) * holes)
  return int(np.sum(inside & (places % holes == 0)))
