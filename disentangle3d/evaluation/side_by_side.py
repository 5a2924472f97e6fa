"""The same predictions under every protocol, so that columns can be compared.

Numbers of different protocols are often put in one table as if they were the
same quantity; here each prediction is measured by all of them at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.evaluation.bootstrap import Interval, mean_and_interval
from disentangle3d.evaluation.icp import DEFAULT_OPTIONS, IcpOptions
from disentangle3d.evaluation.reconstruction import shape_error
from disentangle3d.evaluation.scan_protocols import (
  SCAN_PROTOCOLS,
  PooledDistances,
  ScanError,
  pool_distances,
  scan_error,
)
from disentangle3d.evaluation.scans import Scan, scan_of
from disentangle3d.types import check_array

# Same topology: alignment, then the reading of the paper's formula.
_VERTEX_COLUMNS = {
  "liu2018, corresponding vertices": ("liu2018", "rmse_mm"),
  "the same, rigid": ("liu2018_rigid", "rmse_mm"),
  "the same, mean distance": ("liu2018", "mean_distance_mm"),
  "the same, formula as printed": ("liu2018", "printed_formula_mm"),
}
_SCAN_COLUMNS = {
  "liu2018, nearest vertex": "liu2018_vertex",
  "liu2018, nearest point": "liu2018",
  "liu2018, nearest point, rigid": "liu2018_rigid",
} | {name: name for name in SCAN_PROTOCOLS if not name.startswith("liu2018")}
COLUMNS = (*_VERTEX_COLUMNS, *_SCAN_COLUMNS)


@dataclasses.dataclass(frozen=True, eq=False)
class SideBySide:
  """What every protocol says of every method.

  Attributes:
    scores: Method to column to one number a sample, `[B]`, mm; NaN where the
      method has no shape for a sample, or no corresponding vertices.
    now: Method to NoW's pooled distances; None without any shape.
    unconverged: Method to how many of its ICP runs did not converge.
    groups: The person of each sample, `[B]`, or None.
  """

  scores: dict[str, dict[str, Float[np.ndarray, "B"]]]
  now: dict[str, PooledDistances | None]
  unconverged: dict[str, int]
  groups: Int[np.ndarray, "B"] | None

  def interval(self, method: str, column: str) -> Interval | None:
    """Mean with its 95 % bootstrap interval, people drawn; None if missing."""
    values = self.scores[method][column]
    known = np.isfinite(values)
    if not known.any():
      return None
    groups = None if self.groups is None else self.groups[known]
    return mean_and_interval(values[known], groups=groups)


def side_by_side(
  predictions: Mapping[str, Float[Array | np.ndarray, "B V 3"]],
  truth: Float[Array | np.ndarray, "B V 3"],
  *,
  landmark_vertices: Int[Array | np.ndarray, "68"],
  triangles: Int[Array | np.ndarray, "F 3"],
  others: Mapping[str, Sequence[Scan | None]] | None = None,
  groups: Int[Array | np.ndarray, "B"] | None = None,
  options: IcpOptions = DEFAULT_OPTIONS,
) -> SideBySide:
  """Measures every method by every protocol, on shapes of one topology.

  Args:
    predictions: Name to reconstructions, `[B, V, 3]`, mm.
    truth: True shapes, `[B, V, 3]`, mm.
    landmark_vertices: Vertex of each iBUG landmark, `[68]`, or -1.
    triangles: `[F, 3]`.
    others: Name to B reconstructions of any topology, or None where one is
      missing; they have no corresponding vertices.
    groups: The person of each sample, `[B]`; the bootstrap draws people.
    options: Of ICP.

  Returns:
    `SideBySide`.

  Raises:
    ValueError: There is no method, or a shape differs.
    TypeError: A dtype differs.
  """
  others = others or {}
  if not predictions and not others:
    raise ValueError("predictions: expected at least one method, got none")
  sizes = check_array("truth", truth, "B V 3")
  for name, shapes in predictions.items():
    check_array(f"predictions[{name!r}]", shapes, "B V 3", sizes=sizes)
  marks = np.asarray(landmark_vertices)

  def samples() -> Iterator[tuple[Scan, dict[str, Scan | None]]]:
    for row in range(sizes["B"]):
      made: dict[str, Scan | None] = {
        name: scan_of(np.asarray(shapes[row]), triangles, marks)
        for name, shapes in predictions.items()
      }
      theirs = {name: scans[row] for name, scans in others.items()}
      yield scan_of(np.asarray(truth[row]), triangles, marks), made | theirs

  table = compare_scans(
    (*predictions, *others), samples(), groups=groups, options=options
  )
  for name, columns in table.scores.items():
    by_vertex = dict.fromkeys(_VERTEX_COLUMNS, np.full(sizes["B"], np.nan))
    if name in predictions:
      by_vertex = _by_vertex(predictions[name], truth, marks)
    table.scores[name] = by_vertex | columns
  return table


def compare_scans(
  methods: Sequence[str],
  samples: Iterable[tuple[Scan, Mapping[str, Scan | None]]],
  *,
  groups: Int[Array | np.ndarray, "B"] | None = None,
  options: IcpOptions = DEFAULT_OPTIONS,
) -> SideBySide:
  """Measures methods on scans of any topology by every protocol for scans.

  Args:
    methods: Their names.
    samples: For each sample the true scan, and the methods' shapes by name;
      None where a method has none. Asked for one at a time.
    groups: The person of each sample, `[B]`; the bootstrap draws people.
    options: Of ICP.

  Returns:
    `SideBySide`, of `_SCAN_COLUMNS` only.

  Raises:
    ValueError: There is no sample, or a scan lacks a protocol's landmarks.
  """
  found: dict[str, dict[str, list[ScanError | None]]] = {
    name: {column: [] for column in _SCAN_COLUMNS} for name in methods
  }
  count = 0
  for scan, made in samples:
    count += 1
    for name in methods:
      shape = made[name]
      for column, protocol in _SCAN_COLUMNS.items():
        error = None
        if shape is not None:
          error = scan_error(shape, scan, protocol=protocol, options=options)
        found[name][column].append(error)
  if not count:
    raise ValueError("samples: expected at least one, got none")
  return SideBySide(
    scores={
      name: {
        column: np.array([e.score_mm if e else np.nan for e in errors])
        for column, errors in columns.items()
      }
      for name, columns in found.items()
    },
    now={name: _pooled(columns["now"]) for name, columns in found.items()},
    unconverged={
      name: sum(
        error is not None and error.icp is not None and not error.icp.converged
        for errors in columns.values()
        for error in errors
      )
      for name, columns in found.items()
    },
    groups=None if groups is None else np.asarray(groups),
  )


def _pooled(errors: Sequence[ScanError | None]) -> PooledDistances | None:
  known = [error for error in errors if error is not None]
  return pool_distances(known) if known else None


def _by_vertex(
  shapes: Array | np.ndarray, truth: Array | np.ndarray, marks: np.ndarray
) -> dict[str, np.ndarray]:
  errors = {
    protocol: shape_error(
      jnp.asarray(shapes),
      jnp.asarray(truth),
      landmark_vertices=jnp.asarray(marks),
      protocol=protocol,
    )
    for protocol in ("liu2018", "liu2018_rigid")
  }
  return {
    column: np.asarray(getattr(errors[protocol], reading), np.float64)
    for column, (protocol, reading) in _VERTEX_COLUMNS.items()
  }
