"""Scores of shapes against the University of York's scans."""

from collections.abc import Sequence
import concurrent.futures
import os

from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.evaluation.scan_protocols import scan_error
from disentangle3d.evaluation.scans import scan_of
from experiments.sets.york import YorkPhoto


def outline_errors(
  photos: Sequence[YorkPhoto],
  shapes: Float[Array | np.ndarray, "P V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
  landmark_vertices: Int[Array | np.ndarray, "68"],
  *,
  protocol: str = "outline",
) -> tuple[Float[np.ndarray, "P"], Float[np.ndarray, "P"]]:
  """Median and root mean square distance of each scan to its shape, mm.

  Args:
    photos: Of `york_set`.
    shapes: One a photo, `[P, V, 3]`, mm; or one for all, `[1, V, 3]`.
    triangles: `[F, 3]`.
    landmark_vertices: `[68]`, for the start of ICP; -1 where there is none.
    protocol: In `OUTLINE_PROTOCOLS`.

  Returns:
    Medians and root mean squares, `[P]` each.
  """
  made = np.broadcast_to(
    np.asarray(shapes), (len(photos), *np.shape(shapes)[1:])
  )
  faces, marks = np.asarray(triangles), np.asarray(landmark_vertices)

  def one(place: int) -> tuple[float, float]:
    scan = scan_of(made[place], faces, marks)
    error = scan_error(scan, photos[place].scan, protocol=protocol)
    return error.score_mm, error.rmse_mm

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    found = np.array(list(pool.map(one, range(len(photos)))))
  return found[:, 0], found[:, 1]
