"""Modes of a Gaussian process of displacements, mirror-symmetric.

The covariance is a smooth kernel, the same for the three components, plus a
sum of given fields. The kernel's eigenfunctions are found on control points
that do not depend on the mesh and extended to the mesh by Nystrom's formula;
the strongest of them and the fields span the process, whose own
eigenfunctions are found in that span. It falls into two independent processes,
of displacements symmetric and antisymmetric in x = 0; half a face is enough
for either.
"""

from collections.abc import Callable
import dataclasses

import numpy as np
import scipy

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
# How many functions span the process of one parity.
_SPAN = 190
MAX_MODES = 2 * _SPAN


@dataclasses.dataclass(frozen=True)
class Process:
  """A Gaussian process of displacements.

  Attributes:
    kernel: Covariance of one component between points `[P, D]` and `[Q, D]`,
      `[P, Q]`, mm^2; the first coordinate is x.
    fields: From points `[P, D]` and parity to further independent
      displacements of one deviation each, `[P, 3, A]`, mm.
    remove_rigid: Take out small rigid motions, as Procrustes alignment does.
    deviation_mm: Root mean square displacement of a control point that all
      modes together are scaled to; None leaves them as they are.
  """

  kernel: Kernel
  fields: Callable[[np.ndarray, int], np.ndarray]
  remove_rigid: bool
  deviation_mm: float | None


@dataclasses.dataclass(frozen=True)
class Modes:
  """Modes on one half of the face.

  Attributes:
    fields: Displacements at one deviation, `[P, 3, M]` float32, mm.
    parity: 1 for symmetric, -1 for antisymmetric modes, `[M]`.
  """

  fields: np.ndarray
  parity: np.ndarray


def multiscale_kernel(
  scales_mm: tuple[float, ...], deviations_mm: tuple[float, ...]
) -> Kernel:
  """A sum of squared-exponential kernels."""

  def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = np.sum(a * a, 1)[:, None] + np.sum(b * b, 1)[None] - 2 * (a @ b.T)
    squared = np.maximum(squared, 0)
    total = np.zeros_like(squared)
    for scale, deviation in zip(scales_mm, deviations_mm, strict=True):
      total += deviation**2 * np.exp(squared * (-0.5 / scale**2))
    return total

  return kernel


def process_modes(
  process: Process, control: np.ndarray, points: np.ndarray, count: int
) -> Modes:
  """The modes of a process with the most variance.

  Args:
    process: What to decompose.
    control: Control points at x >= 0, `[C, D]`.
    points: Where the modes are wanted, x >= 0, `[P, D]`.
    count: How many, symmetric and antisymmetric together.

  Returns:
    `count` modes, their variance over control points falling.

  Raises:
    ValueError: More modes than `MAX_MODES`.
  """
  if not 0 <= count <= MAX_MODES:
    raise ValueError(f"count: expected 0 to {MAX_MODES} modes, got {count}")
  everywhere = np.concatenate([control, points])
  spans = _spans(process, control, everywhere)
  values, rotations = {}, {}
  for parity, span in spans.items():
    known = _component_rows(span[: len(control)])
    values[parity], vectors = scipy.linalg.eigh(known.T @ known)
    sign = np.where((1 + np.cos(np.arange(_SPAN))) @ vectors < 0, -1.0, 1.0)
    rotations[parity] = vectors * sign
  variance = np.concatenate([values[1], values[-1]])
  scale = 1.0
  if process.deviation_mm is not None:
    scale = process.deviation_mm / np.sqrt(variance.sum() / len(control))
  order = np.argsort(-variance, kind="stable")[:count]
  parities = np.where(order < _SPAN, 1, -1)
  fields = np.empty((len(points), 3, count), np.float32)
  for parity, span in spans.items():
    mine = parities == parity
    # All modes, wanted or not: a smaller count changes no bit of the others.
    for axis in range(3):
      modes = span[len(control) :, axis] @ (scale * rotations[parity])
      fields[:, axis, mine] = modes[:, order[mine] % _SPAN]
  return Modes(fields=fields, parity=parities)


def _spans(
  process: Process, control: np.ndarray, points: np.ndarray
) -> dict[int, np.ndarray]:
  """For each parity, `[P, 3, _SPAN]` whose outer product is the covariance.

  `points` begin with the control points.
  """
  near = process.kernel(points, control)
  mirrored = control.copy()
  mirrored[:, 0] *= -1
  far = process.kernel(points, mirrored)
  even = _scalar_modes(0.5 * (near + far), len(control))
  odd = _scalar_modes(0.5 * (near - far), len(control))
  spans = {}
  for parity, components in ((1, (odd, even, even)), (-1, (even, odd, odd))):
    fields = process.fields(points, parity)
    span = np.zeros((len(points), 3, _SPAN))
    span[..., : fields.shape[-1]] = fields
    _fill(span, fields.shape[-1], components)
    if process.remove_rigid:
      rigid = _rigid_fields(points, parity)
      known = _component_rows(rigid[: len(control)])
      weights = np.linalg.pinv(known) @ _component_rows(span[: len(control)])
      span = span - rigid @ weights
    spans[parity] = span
  return spans


def _scalar_modes(
  kernel: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """Eigenvalues, falling, and Nystrom-extended scaled eigenfunctions."""
  values, vectors = scipy.linalg.eigh(kernel[:count])
  values = np.maximum(values[::-1], 1e-9 * values[-1])
  vectors = vectors[:, ::-1] / np.sqrt(values)
  vectors = vectors * np.where(kernel[0] @ vectors < 0, -1.0, 1.0)
  return values, kernel @ vectors


def _fill(
  span: np.ndarray,
  start: int,
  components: tuple[tuple[np.ndarray, np.ndarray], ...],
) -> None:
  """Writes the strongest functions of the components to `span[..., start:]`."""
  values = np.concatenate([values for values, _ in components])
  size = len(components[0][0])
  strongest = np.argsort(-values, kind="stable")[: span.shape[-1] - start]
  for column, chosen in enumerate(strongest.tolist(), start):
    axis, mode = divmod(chosen, size)
    span[:, axis, column] = components[axis][1][:, mode]


def _component_rows(fields: np.ndarray) -> np.ndarray:
  """`[P, 3, A]` as `[3P, A]`."""
  return fields.reshape(3 * len(fields), -1)


def _rigid_fields(points: np.ndarray, parity: int) -> np.ndarray:
  """The small rigid motions of one parity, `[P, 3, 3]`, motion last."""
  x, y, z = points[:, 0], points[:, 1], points[:, 2]
  one, zero = np.ones_like(x), np.zeros_like(x)
  if parity > 0:
    motions = [[zero, one, zero], [zero, zero, one], [zero, -z, y]]
  else:
    motions = [[one, zero, zero], [z, zero, -x], [-y, x, zero]]
  return np.moveaxis(np.array(motions), -1, 0).swapaxes(1, 2)
