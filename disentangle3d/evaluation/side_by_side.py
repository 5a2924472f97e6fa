"""The same predictions under every protocol, so that columns can be compared.

Numbers of different protocols are often put in one table as if they were the
same quantity; here each prediction is measured by all of them at once.
"""

from collections.abc import Iterator, Mapping
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
    scores: Method to column (`COLUMNS`) to one number a sample, `[B]`, mm.
    now: Method to NoW's pooled distances.
    unconverged: Method to how many of its ICP runs did not converge.
    groups: The person of each sample, `[B]`, or None.
  """

  scores: dict[str, dict[str, Float[np.ndarray, "B"]]]
  now: dict[str, PooledDistances]
  unconverged: dict[str, int]
  groups: Int[np.ndarray, "B"] | None

  def interval(self, method: str, column: str) -> Interval:
    """Mean over the samples with its 95 % bootstrap interval, people drawn."""
    return mean_and_interval(self.scores[method][column], groups=self.groups)


def side_by_side(
  predictions: Mapping[str, Float[Array | np.ndarray, "B V 3"]],
  truth: Float[Array | np.ndarray, "B V 3"],
  *,
  landmark_vertices: Int[Array | np.ndarray, "68"],
  triangles: Int[Array | np.ndarray, "F 3"],
  groups: Int[Array | np.ndarray, "B"] | None = None,
  options: IcpOptions = DEFAULT_OPTIONS,
) -> SideBySide:
  """Measures every method by every protocol, on shapes of one topology.

  Args:
    predictions: Name to reconstructions, `[B, V, 3]`, mm.
    truth: True shapes, `[B, V, 3]`, mm.
    landmark_vertices: Vertex of each iBUG landmark, `[68]`, or -1.
    triangles: `[F, 3]`.
    groups: The person of each sample, `[B]`; the bootstrap draws people.
    options: Of ICP.

  Returns:
    `SideBySide`.

  Raises:
    ValueError: There is no method, or a shape differs.
    TypeError: A dtype differs.
  """
  if not predictions:
    raise ValueError("predictions: expected at least one method, got none")
  sizes = check_array("truth", truth, "B V 3")
  for name, shapes in predictions.items():
    check_array(f"predictions[{name!r}]", shapes, "B V 3", sizes=sizes)
  marks = np.asarray(landmark_vertices)
  scores = {
    name: _by_vertex(shapes, truth, marks)
    for name, shapes in predictions.items()
  }
  found: dict[str, dict[str, list[ScanError]]] = {
    name: {column: [] for column in _SCAN_COLUMNS} for name in predictions
  }
  for row in range(sizes["B"]):
    scan = scan_of(np.asarray(truth[row]), triangles, marks)
    for name, shapes in predictions.items():
      made = scan_of(np.asarray(shapes[row]), triangles, marks)
      for column, error in _by_surface(made, scan, options):
        found[name][column].append(error)
  for name, columns in found.items():
    scores[name] |= {
      column: np.array([error.score_mm for error in errors])
      for column, errors in columns.items()
    }
  return SideBySide(
    scores=scores,
    now={name: pool_distances(found[name]["now"]) for name in found},
    unconverged={
      name: sum(
        error.icp is not None and not error.icp.converged
        for errors in columns.values()
        for error in errors
      )
      for name, columns in found.items()
    },
    groups=None if groups is None else np.asarray(groups),
  )


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


def _by_surface(
  made: Scan, scan: Scan, options: IcpOptions
) -> Iterator[tuple[str, ScanError]]:
  for column, protocol in _SCAN_COLUMNS.items():
    yield column, scan_error(made, scan, protocol=protocol, options=options)
