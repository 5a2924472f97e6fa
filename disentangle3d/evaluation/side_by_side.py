"""The same predictions under every protocol, so that columns can be compared.

Numbers of different protocols are often put in one table as if they were the
same quantity; here each prediction is measured by all of them at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import functools
import itertools
from typing import Any

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
  scan_errors,
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
# Any topology: protocol, then which of its numbers.
SPHERE_RMSE = "liu2018, nearest point"
_SCAN_COLUMNS = {
  "liu2018, nearest vertex": ("liu2018_vertex", "score_mm"),
  SPHERE_RMSE: ("liu2018", "score_mm"),
  "liu2018, nearest point, rigid": ("liu2018_rigid", "score_mm"),
} | {
  name: (name, "score_mm")
  for name in SCAN_PROTOCOLS
  if not name.startswith("liu2018")
}
OUTLINE_MEDIAN, OUTLINE_RMSE = "outline: median", "outline: RMSE"
_OUTLINE_COLUMNS = {
  OUTLINE_MEDIAN: ("outline", "score_mm"),
  OUTLINE_RMSE: ("outline", "rmse_mm"),
  "outline, rigid: median": ("outline_rigid", "score_mm"),
  "outline, rigid: RMSE": ("outline_rigid", "rmse_mm"),
}
COLUMNS = (*_VERTEX_COLUMNS, *_SCAN_COLUMNS, *_OUTLINE_COLUMNS)
Sample = tuple[Scan, Mapping[str, Scan | None]]


@dataclasses.dataclass(frozen=True, eq=False)
class SideBySide:
  """What every protocol says of every method.

  Attributes:
    scores: Method to column to one number a sample, `[B]`, mm; NaN where the
      method has no shape for a sample, or no corresponding vertices.
    now: Method to NoW's pooled distances; None without any shape.
    unconverged: Method to how many of its ICP runs did not converge.
    groups: The person of each sample, `[B]`, or None.
    outline_mm: Method to the distance of each of a sample's scan's vertices
      under `outline`, `[V]`, NaN outside; None where there is none.
  """

  scores: dict[str, dict[str, Float[np.ndarray, "B"]]]
  now: dict[str, PooledDistances | None]
  unconverged: dict[str, int]
  groups: Int[np.ndarray, "B"] | None
  outline_mm: dict[str, list[Float[np.ndarray, "V"] | None]]

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

  def samples() -> Iterator[Sample]:
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
  samples: Iterable[Sample],
  *,
  groups: Int[Array | np.ndarray, "B"] | None = None,
  options: IcpOptions = DEFAULT_OPTIONS,
  columns: Sequence[str] = COLUMNS,
  run: Callable[..., Iterable[Any]] = map,
) -> SideBySide:
  """Measures methods on scans of any topology by every protocol for scans.

  Args:
    methods: Their names.
    samples: For each sample the true scan, and the methods' shapes by name;
      None where a method has none. Asked for one at a time.
    groups: The person of each sample, `[B]`; the bootstrap draws people.
    options: Of ICP.
    columns: Which of `COLUMNS`.
    run: `map`, or one that does it in other processes.

  Returns:
    `SideBySide`, of `_SCAN_COLUMNS` only, and of `_OUTLINE_COLUMNS` where the
    scans have outlines.

  Raises:
    ValueError: There is no sample, or a scan lacks a protocol's landmarks.
  """
  found = list(
    run(functools.partial(_compare, options=options, wanted=columns), samples)
  )
  if not found:
    raise ValueError("samples: expected at least one, got none")
  found_columns = list(
    dict.fromkeys(itertools.chain(*(one.columns for one in found)))
  )
  rows = {
    name: [one.methods.get(name, _NOTHING) for one in found] for name in methods
  }
  return SideBySide(
    scores={
      name: {
        column: np.array([one.scores.get(column, np.nan) for one in ones])
        for column in found_columns
      }
      for name, ones in rows.items()
    },
    now={name: _pooled(ones) for name, ones in rows.items()},
    unconverged={
      name: sum(one.unconverged for one in ones) for name, ones in rows.items()
    },
    groups=None if groups is None else np.asarray(groups),
    outline_mm={
      name: [one.outline_mm for one in ones] for name, ones in rows.items()
    },
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Compared:
  """One shape against one scan."""

  scores: Mapping[str, float]
  now: ScanError | None
  unconverged: int
  outline_mm: np.ndarray | None


_NOTHING = _Compared({}, None, 0, None)


@dataclasses.dataclass(frozen=True, eq=False)
class _Row:
  """All that there is of one sample."""

  columns: Sequence[str]
  methods: Mapping[str, _Compared]


def _compare(
  sample: Sample, *, options: IcpOptions, wanted: Sequence[str]
) -> _Row:
  truth, made = sample
  columns = dict(_SCAN_COLUMNS)
  if truth.outline is not None:
    columns |= _OUTLINE_COLUMNS
  columns = {name: columns[name] for name in wanted if name in columns}
  protocols = list(dict.fromkeys(name for name, _ in columns.values()))
  methods = {}
  for name, shape in made.items():
    if shape is None:
      continue
    listed = scan_errors(shape, truth, protocols, options=options)
    errors = dict(zip(protocols, listed, strict=True))
    outline = errors.get("outline")
    methods[name] = _Compared(
      scores={
        column: getattr(errors[protocol], reading)
        for column, (protocol, reading) in columns.items()
      },
      now=errors.get("now"),
      unconverged=sum(
        error.icp is not None and not error.icp.converged for error in listed
      ),
      outline_mm=None
      if outline is None
      else np.where(outline.inside, outline.distance_mm, np.nan),
    )
  return _Row(list(columns), methods)


def _pooled(ones: Sequence[_Compared]) -> PooledDistances | None:
  known = [one.now for one in ones if one.now is not None]
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
