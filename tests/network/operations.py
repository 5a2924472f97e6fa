"""Multiply-adds counted from the shapes of a traced function."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def multiply_adds(function: Callable[..., Any], *args: Any) -> int:
  """Of all convolutions and matrix products; of branches the largest."""
  return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> int:
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "conv_general_dilated":
      kernel = equation.invars[1].aval.shape
      total += equation.outvars[0].aval.size * int(np.prod(kernel[:3]))
    elif equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      shape = equation.invars[0].aval.shape
      total += equation.outvars[0].aval.size * int(
        np.prod([shape[axis] for axis in contracted])
      )
    elif "branches" in equation.params:
      total += max(_count(b.jaxpr) for b in equation.params["branches"])
    elif "jaxpr" in equation.params:
      total += _count(equation.params["jaxpr"].jaxpr)
  return total


def numpy_convolution(x, kernel, stride, *, depthwise=False):
  """3x3 in float64, one pixel of zeros around."""
  height, width = x.shape[1:3]
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  total = 0.0
  for i in range(3):
    for j in range(3):
      seen = padded[:, i : i + height : stride, j : j + width : stride]
      total = total + (
        seen * kernel[i, j, 0] if depthwise else seen @ kernel[i, j]
      )
  return total
