"""Eyeballs and the inside of the mouth, where a mask has holes.

Every closed border of a mesh but its longest is a hole: the lids' edges, the
lips'. Each is closed by rings of vertices that shrink towards its middle and
follow it wherever a shape takes it.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import scipy

from disentangle3d.faces.head_closure import borders
from disentangle3d.faces.mesh_edges import mesh_laplacian
from disentangle3d.faces.morphable_model import MorphableModel

# Share of the border's distance to the middle in each ring; a mouth's lips end
# sharply before teeth.
_EYE_RINGS, _MOUTH_RINGS = (0.66, 0.33, 0.0), (0.92, 0.7, 0.45, 0.2, 0.0)
# How far the middle stands before (eyes) or behind the plane of the border.
_EYE_MM, _MOUTH_MM = 2.5, -6.0
# What `open_mouth` does to the middle of the lower lip.
_OPENED_MM = 12.0


@flax.struct.dataclass
class Cavities:
  """How to close a mask's holes, with C vertices.

  Attributes:
    border: The border's vertex that each vertex follows, `[C]` int32.
    middle: Weights of the borders' vertices for the middle of each hole,
      `[H, V]`.
    hole: Which hole each vertex is of, `[C]` int32.
    share: Of its border's distance to the middle, `[C]`.
    forward_mm: What is added along z, `[C]`.
    mouth: 1 inside the mouth, else 0, `[C]`.
    triangles: Of these vertices, numbered from V, and of the borders,
      `[F3, 3]` int32.
  """

  border: Int[Array, "C"]
  middle: Float[Array, "H V"]
  hole: Int[Array, "C"]
  share: Float[Array, "C"]
  forward_mm: Float[Array, "C"]
  mouth: Float[Array, "C"]
  triangles: Int[Array, "F3 3"]

  @property
  def num_vertices(self) -> int:
    """C."""
    return self.border.shape[0]


def find_cavities(model: MorphableModel) -> Cavities:
  """Prepares the holes of a model, on the host."""
  mean = np.asarray(model.mean_shape, np.float64)
  _, *loops = borders(np.asarray(model.triangles), mean)
  eyes = mean[np.asarray(model.landmark_vertices)[36:48], 1].mean()
  lips = mean[np.asarray(model.landmark_vertices)[48:68], 1].mean()
  columns: dict[str, list[np.ndarray]] = {
    name: [np.zeros(0)] for name in ("border", "hole", "share", "deep", "mouth")
  }
  middle = np.zeros((len(loops), len(mean)), np.float32)
  triangles = [np.zeros((0, 3), np.int64)]
  first = len(mean)
  for hole, loop in enumerate(loops):
    middle[hole, loop] = 1 / len(loop)
    height = mean[loop, 1].mean()
    mouth = float(abs(height - lips) < abs(height - eyes))
    ring = loop
    for share in _MOUTH_RINGS if mouth else _EYE_RINGS:
      inner = first + np.arange(len(loop))
      triangles.append(_band(ring, inner))
      deep = (1 - share**2) * (_MOUTH_MM if mouth else _EYE_MM)
      for name, value in (
        ("border", loop),
        ("hole", hole),
        ("share", share),
        ("deep", deep),
        ("mouth", mouth),
      ):
        columns[name].append(np.broadcast_to(value, len(loop)))
      ring, first = inner, first + len(loop)
  joined = {name: np.concatenate(parts) for name, parts in columns.items()}
  return Cavities(
    border=jnp.asarray(joined["border"], jnp.int32),
    middle=jnp.asarray(middle),
    hole=jnp.asarray(joined["hole"], jnp.int32),
    share=jnp.asarray(joined["share"], jnp.float32),
    forward_mm=jnp.asarray(joined["deep"], jnp.float32),
    mouth=jnp.asarray(joined["mouth"], jnp.float32),
    triangles=jnp.asarray(np.concatenate(triangles), jnp.int32),
  )


def cavity_points(
  cavities: Cavities, shape: Float[Array, "B V 3"]
) -> Float[Array, "B C 3"]:
  """Where the vertices that close the holes of shapes are."""
  border = shape[:, cavities.border]
  middle = jnp.einsum("hv,bvc->bhc", cavities.middle, shape)[:, cavities.hole]
  points = middle + cavities.share[None, :, None] * (border - middle)
  return points.at[..., 2].add(cavities.forward_mm[None])


def open_mouth(
  model: MorphableModel, cavities: Cavities
) -> Float[np.ndarray, "V 3"]:
  """The mean face with its lower lip let down, on the host; no expression.

  Between the lips, which are fixed, and the mesh's outer border, which stays,
  vertices go by the mean of their neighbours.

  Args:
    model: Whose mean.
    cavities: Its own; without a mouth the mean stays as it is.

  Returns:
    `[V, 3]`, mm.
  """
  mean = np.asarray(model.mean_shape, np.float64)
  rows = np.unique(np.asarray(cavities.border)[np.asarray(cavities.mouth) > 0])
  if not len(rows):
    return mean
  lips = mean[rows] - mean[rows].mean(0)
  drop = np.zeros(len(mean))
  drop[rows] = np.where(
    lips[:, 1] < 0, 1 - (lips[:, 0] / np.abs(lips[:, 0]).max()) ** 2, 0
  )
  triangles = np.asarray(model.triangles)
  outer = borders(triangles, mean)[0]
  free = np.setdiff1d(np.arange(len(mean)), np.concatenate([rows, outer]))
  # What hangs together with nothing fixed stays where it is.
  springs = mesh_laplacian(triangles, len(mean))
  springs = springs + 1e-6 * scipy.sparse.eye_array(len(mean), format="csr")
  drop[free] = scipy.sparse.linalg.spsolve(
    springs[free][:, free], -springs[free] @ drop
  )
  return mean - _OPENED_MM * drop[:, None] * [[0, 1, 0]]


def _band(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
  """Triangles between two rings of as many vertices, the hole's side out."""
  a, b = outer, np.roll(outer, -1)
  c, d = inner, np.roll(inner, -1)
  return np.concatenate([np.stack([b, a, c], 1), np.stack([b, c, d], 1)])
