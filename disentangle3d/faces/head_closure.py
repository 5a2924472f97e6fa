"""Hair and neck that close an open face mask into something like a head.

The mask's outer border is extended by rings of vertices: above the ears they
bulge outwards as hair and close behind the head, below they run down as a
neck. They follow the border wherever a shape takes it, so they never cut
through the face. Models with no border get none.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel

# Ring by ring: share of the way to the back of the head, hair thickness (of
# 1), mm backwards; and share of the way down the neck.
_HAIR_RINGS = (
  (0.0, 0.55, 1.0),
  (0.0, 1.0, -9.0),
  (0.08, 1.15, -34.0),
  (0.4, 0.9, -40.0),
  (1.0, 0.0, 0.0),
)
_NECK_RINGS = (0.15, 0.3, 0.5, 0.75, 1.0)
# A border has hundreds of vertices; its rings would be of thin splinters,
# each with a large bounding box.
_RING_VERTICES = 40


@flax.struct.dataclass
class HeadClosure:
  """How to extend a mask.

  Attributes:
    border: Every so many vertices of the mask's border, `[P]` int32.
    keep: Share of the border's own position in each ring, `[5, P]`.
    fixed: What is added to it, `[5, P, 3]`, mm.
    bulge: What is added per millimetre of hair, `[5, P, 3]`.
    hair: 1 on hair, 0 on the neck, `[5, P]`.
    triangles: Those of mask and rings together, `[F2, 3]` int32.
  """

  border: Int[Array, "P"]
  keep: Float[Array, "5 P"]
  fixed: Float[Array, "5 P 3"]
  bulge: Float[Array, "5 P 3"]
  hair: Float[Array, "5 P"]
  triangles: Int[Array, "F2 3"]


def head_closure(model: MorphableModel) -> HeadClosure:
  """Prepares hair and neck for a model, on the host."""
  mean = np.asarray(model.mean_shape, np.float64)
  border = outer_border(np.asarray(model.triangles), mean)
  stride = max(1, len(border) // _RING_VERTICES)
  count = len(border) // stride
  anchors = border[::stride][:count]
  points = mean[anchors]
  landmarks = np.asarray(model.landmark_vertices)
  mouth = mean[landmarks[48:68]].mean(0)[1]
  eyes = mean[landmarks[36:48]].mean(0)[1]
  hair = np.clip((points[:, 1] - mouth) / (eyes - mouth), 0, 1)
  hair = hair * hair * (3 - 2 * hair)
  middle = points.mean(0) if count else np.zeros(3)
  outward = (points - middle) * [1, 1, 0]
  outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)
  behind = middle + [0, 10, -110]
  below = points * [0.45, 0, 0.8] + [0, mean[:, 1].min() - 110, -20]
  keep = np.zeros((len(_HAIR_RINGS), count))
  fixed, bulge = np.zeros((2, *keep.shape, 3))
  for ring, ((back, thick, deep), down) in enumerate(
    zip(_HAIR_RINGS, _NECK_RINGS, strict=True)
  ):
    keep[ring] = hair * (1 - back) + (1 - hair) * (1 - down)
    fixed[ring] = hair[:, None] * (back * behind + [0, 0, deep])
    fixed[ring] += (1 - hair[:, None]) * down * below
    bulge[ring] = hair[:, None] * thick * outward
  return HeadClosure(
    border=jnp.asarray(anchors, jnp.int32),
    keep=jnp.asarray(keep, jnp.float32),
    fixed=jnp.asarray(fixed, jnp.float32),
    bulge=jnp.asarray(bulge, jnp.float32),
    hair=jnp.asarray(np.tile(hair, (len(_HAIR_RINGS), 1)), jnp.float32),
    triangles=jnp.asarray(_all_triangles(model, border, count), jnp.int32),
  )


def close_head(
  closure: HeadClosure, shape: Float[Array, "B V 3"], hair_mm: Float[Array, "B"]
) -> Float[Array, "B V2 3"]:
  """The shapes' vertices followed by those of hair and neck."""
  border = shape[:, closure.border][:, None]
  rings = closure.keep[None, ..., None] * border + closure.fixed[None]
  rings = rings + hair_mm[:, None, None, None] * closure.bulge[None]
  return jnp.concatenate([shape, rings.reshape(shape.shape[0], -1, 3)], 1)


def outer_border(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
  """The longest border of a mesh as vertices `[P]`, triangles on its left.

  Empty where every edge has two triangles.
  """
  found = borders(triangles, points)
  return found[0] if found else np.zeros(0, np.int64)


def borders(triangles: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
  """The closed borders of a mesh, the longest in millimetres first."""
  edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
  edges = np.concatenate([edges, triangles[:, [2, 0]]]).astype(np.int64)
  code = edges[:, 0] * len(points) + edges[:, 1]
  twin = edges[:, 1] * len(points) + edges[:, 0]
  following = dict(edges[~np.isin(code, twin)].tolist())
  loops = []
  while following:
    loop = [next(iter(following))]
    while loop[-1] in following:
      loop.append(following.pop(loop[-1]))
    if loop[0] == loop[-1]:
      steps = np.linalg.norm(np.diff(points[loop], axis=0), axis=1)
      loops.append((float(steps.sum()), np.array(loop[:-1])))
  # Of two as long, the first found stays first.
  return [loop for _, loop in sorted(loops, key=lambda one: -one[0])]


def _all_triangles(
  model: MorphableModel, border: np.ndarray, count: int
) -> np.ndarray:
  first = model.num_vertices
  rings = [
    first + ring * count + np.arange(count) for ring in range(len(_HAIR_RINGS))
  ]
  parts = [np.asarray(model.triangles)]
  if count:
    parts += _stitch(border, rings[0])
  for inner, outer in zip(rings[:-1], rings[1:], strict=True):
    a, b = inner, np.roll(inner, -1)
    c, d = outer, np.roll(outer, -1)
    parts += [np.stack([b, a, c], 1), np.stack([b, c, d], 1)]
  return np.concatenate(parts)


def _stitch(border: np.ndarray, ring: np.ndarray) -> list[np.ndarray]:
  """Triangles from a fine border to the coarse ring around it."""
  stride, count = len(border) // len(ring), len(ring)
  edge = np.arange(len(border))
  # The last vertex of the ring takes what does not divide.
  segment = np.minimum(edge // stride, count - 1)
  past_middle = edge - segment * stride >= stride // 2
  owner = (segment + past_middle) % count
  a, b = border, np.roll(border, -1)
  middle = border[np.arange(count) * stride + stride // 2]
  return [
    np.stack([b, a, ring[owner]], 1),
    np.stack([middle, ring, np.roll(ring, -1)], 1),
  ]
