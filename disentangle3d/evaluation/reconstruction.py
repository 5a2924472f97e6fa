"""How far a reconstructed face is from the true one, by named protocols.

A protocol is a value of three functions: how the prediction is laid over the
truth, what counts as the distance of a vertex, and which of the truth's
vertices are measured. `shape_error` runs any of them; a new protocol is a new
`Protocol`, not a new branch.

Where the paper is silent or misprinted, `ShapeError` carries each reading:
its formula divides by n instead of n's root (`printed_formula_mm`), so the
numbers it reports can only be root mean squares (`rmse_mm`).

`liu2018` and its rigid variant compare corresponding vertices and are plain
XLA. The other names are those of `scan_protocols`, which search for closest
points and run on the host.
"""

from collections.abc import Callable
import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from disentangle3d.evaluation.scan_protocols import SCAN_PROTOCOLS, scan_error
from disentangle3d.evaluation.scans import scan_of
from disentangle3d.geometry import align_similarity, apply_similarity
from disentangle3d.types import NOSE_TIP, check_array, check_choice

# 4.1: "cropped at a radius of 95 mm around the nose tip".
RADIUS_MM = 95.0


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How two shapes are compared.

  Attributes:
    name: As tables print it.
    align: `(predicted, truth, landmark_vertices)` to the prediction laid over
      the truth, all shapes `[..., V, 3]`.
    distance: `(aligned, truth)` to the distance of each of the truth's
      vertices, `[..., V]`, mm.
    region: `(truth, landmark_vertices, radius_mm)` to True for the vertices
      that are measured, `[..., V]`.
  """

  name: str
  align: Callable[[Array, Array, Array], Array]
  distance: Callable[[Array, Array], Array]
  region: Callable[[Array, Array, float], Array]


@flax.struct.dataclass
class ShapeError:
  """Distances between predicted and true shapes, in millimetres.

  Attributes:
    rmse_mm: Root mean square of the distances in the region, `[B]`.
    rmse_all_mm: The same over all vertices, `[B]`.
    mean_distance_mm: Mean of the distances in the region, `[B]`.
    printed_formula_mm: The paper's formula as printed, the norm of the
      region's distances over their number, `[B]`.
    distance_mm: Distance of each vertex, `[B, V]`.
    inside: True for vertices in the region, `[B, V]`.
    aligned: The prediction as it was compared, `[B, V, 3]`.
    score_mm: The number that the protocol itself reports, `[B]`.
  """

  rmse_mm: Float[Array, "*B"]
  rmse_all_mm: Float[Array, "*B"]
  mean_distance_mm: Float[Array, "*B"]
  printed_formula_mm: Float[Array, "*B"]
  distance_mm: Float[Array, "*B V"]
  inside: Bool[Array, "*B V"]
  aligned: Float[Array, "*B V 3"]
  score_mm: Float[Array, "*B"]


def shape_error(
  predicted: Float[Array | np.ndarray, "*B V 3"],
  truth: Float[Array | np.ndarray, "*B V 3"],
  *,
  landmark_vertices: Int[Array | np.ndarray, "68"],
  protocol: str | Protocol = "liu2018",
  radius_mm: float = RADIUS_MM,
  triangles: Int[Array, "F 3"] | None = None,
) -> ShapeError:
  """Compares shapes that share one topology; a table takes means over B.

  `liu2018` aligns by a similarity on the 68 landmarks (3D Procrustes), keeps
  the truth's vertices within `radius_mm` of its nose tip, and takes the root
  mean square of the vertex distances of each sample. `liu2018_rigid` is the
  same without scale. A joint motion of both shapes changes nothing, nor does
  a motion of the prediction alone. `deng2019`, `ganfit`, `now`, `now_metrical`
  and `realy_like` (see `scan_protocols`) need `triangles` and cannot be
  jitted; for scans of another topology call `scan_protocols.scan_error`.

  Args:
    predicted: Reconstructions, `[B, V, 3]`, mm; any batch dimensions.
    truth: True shapes, same shape; vertex i is the same point of the face.
    landmark_vertices: Vertex of each iBUG landmark, `[68]`; -1 where there is
      none, which leaves it out of the alignment. Without a nose tip (landmark
      30) nothing is measured: every error within the radius is NaN.
    protocol: A name in `PROTOCOLS` or `SCAN_PROTOCOLS`, or a protocol.
    radius_mm: Radius of the region around the true nose tip.
    triangles: Vertex indices, `[F, 3]`, for the protocols that need them.

  Returns:
    `ShapeError`, one entry a sample.

  Raises:
    ValueError: The shapes disagree, the protocol is not known or lacks its
      triangles, or the radius is not positive.
    TypeError: A dtype differs.
  """
  sizes = check_array("truth", truth, "... V 3")
  check_array("predicted", predicted, "... V 3", sizes=sizes)
  if predicted.shape != truth.shape:
    raise ValueError(
      f"predicted: expected shape {list(truth.shape)} as truth has, got"
      f" {list(predicted.shape)}"
    )
  check_array("landmark_vertices", landmark_vertices, "68", dtype="integer")
  if not radius_mm > 0:
    raise ValueError(f"radius_mm: expected a positive radius, got {radius_mm}")
  if isinstance(protocol, str):
    check_choice("protocol", protocol, (*PROTOCOLS, *_HOST_PROTOCOLS))
    if protocol in _HOST_PROTOCOLS:
      return _host_error(
        protocol, predicted, truth, landmark_vertices, triangles, radius_mm
      )
    protocol = PROTOCOLS[protocol]
  predicted, truth = jnp.asarray(predicted), jnp.asarray(truth)
  landmark_vertices = jnp.asarray(landmark_vertices)

  aligned = protocol.align(predicted, truth, landmark_vertices)
  distance = protocol.distance(aligned, truth)
  inside = protocol.region(truth, landmark_vertices, radius_mm)
  return _summary(aligned, distance, inside)


def _summary(
  aligned: Array, distance: Array, inside: Array, score: Array | None = None
) -> ShapeError:
  """All readings of the distances; the score is the rmse unless given."""
  count = jnp.sum(inside, -1).astype(distance.dtype)
  square_sum = jnp.sum(jnp.where(inside, distance**2, 0.0), -1)
  rmse = jnp.sqrt(square_sum / count)
  return ShapeError(
    rmse_mm=rmse,
    rmse_all_mm=jnp.sqrt(jnp.mean(distance**2, -1)),
    mean_distance_mm=jnp.sum(jnp.where(inside, distance, 0.0), -1) / count,
    printed_formula_mm=jnp.sqrt(square_sum) / count,
    distance_mm=distance,
    inside=inside,
    aligned=aligned,
    score_mm=rmse if score is None else score,
  )


def _host_error(
  protocol: str,
  predicted: Array | np.ndarray,
  truth: Array | np.ndarray,
  landmark_vertices: Array | np.ndarray,
  triangles: Array | None,
  radius_mm: float,
) -> ShapeError:
  if triangles is None:
    raise ValueError(
      f"triangles: expected an array [F, 3], which {protocol!r} needs, got None"
    )
  *batch, count, _ = truth.shape
  made, true = (
    np.asarray(shapes, np.float64).reshape(-1, count, 3)
    for shapes in (predicted, truth)
  )
  marks = np.asarray(landmark_vertices)
  rows = []
  for one, other in zip(made, true, strict=True):
    source, target = (
      scan_of(shape, np.asarray(triangles), marks) for shape in (one, other)
    )
    error = scan_error(source, target, protocol=protocol, radius_mm=radius_mm)
    rows.append(
      (
        error.motion.apply(one),
        error.distance_mm,
        error.inside,
        np.asarray(error.score_mm),
      )
    )
  parts = [np.stack(part) for part in zip(*rows, strict=True)]
  aligned, distance, inside, score = (
    jnp.asarray(
      part.astype(bool if part.dtype == bool else np.float32)
    ).reshape(*batch, *part.shape[1:])
    for part in parts
  )
  return _summary(aligned, distance, inside, score)


def align_landmarks(
  predicted: Float[Array, "*B V 3"],
  truth: Float[Array, "*B V 3"],
  landmark_vertices: Int[Array, "68"],
  *,
  with_scale: bool,
) -> Float[Array, "*B V 3"]:
  """Lays `predicted` over `truth` by Procrustes on the known landmarks."""
  vertices = jnp.maximum(landmark_vertices, 0)
  source = jnp.take(predicted, vertices, axis=-2)
  known = jnp.broadcast_to(landmark_vertices >= 0, source.shape[:-1])
  motion = align_similarity(
    source,
    jnp.take(truth, vertices, axis=-2),
    with_scale=with_scale,
    weights=known.astype(source.dtype),
  )
  return apply_similarity(predicted, *motion)


def vertex_distance(
  aligned: Float[Array, "*B V 3"], truth: Float[Array, "*B #V 3"]
) -> Float[Array, "*B V"]:
  """Distance between corresponding vertices."""
  return jnp.sqrt(jnp.sum((aligned - truth) ** 2, -1))


def around_nose_tip(
  truth: Float[Array, "*B V 3"],
  landmark_vertices: Int[Array, "68"],
  radius_mm: float,
) -> Bool[Array, "*B V"]:
  """True within `radius_mm` of the nose tip; nowhere if there is none."""
  vertex = landmark_vertices[NOSE_TIP]
  nose_tip = jnp.take(truth, jnp.maximum(vertex, 0), axis=-2)
  near = vertex_distance(truth, nose_tip[..., None, :]) <= radius_mm
  return jnp.logical_and(near, jnp.broadcast_to(vertex >= 0, near.shape))


def _align_similarity(predicted: Array, truth: Array, marks: Array) -> Array:
  return align_landmarks(predicted, truth, marks, with_scale=True)


def _align_rigid(predicted: Array, truth: Array, marks: Array) -> Array:
  return align_landmarks(predicted, truth, marks, with_scale=False)


PROTOCOLS = {
  "liu2018": Protocol(
    "liu2018", _align_similarity, vertex_distance, around_nose_tip
  ),
  "liu2018_rigid": Protocol(
    "liu2018_rigid", _align_rigid, vertex_distance, around_nose_tip
  ),
}

_HOST_PROTOCOLS = tuple(
  name for name in SCAN_PROTOCOLS if not name.startswith("liu2018")
)
