"""A z-buffer rasteriser of plain XLA operations: exact, any triangle size.

Image coordinates are pixels, x right, y down, a pixel's centre at integer
coordinates; depth grows towards the viewer. A triangle covers a pixel when
the pixel's centre lies inside it or on its edge; the nearest triangle wins,
and of several at the same depth the one with the greatest index.

Work is shared out as (triangle, pixel) pairs: each triangle contributes the
pixels of its bounding box inside the image, a running sum numbers all pairs,
and a while_loop takes them a fixed number at a time. So a dense face, whose
triangles mostly miss every pixel centre, costs no more than its pixels, and
no triangle is too large.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Pairs a turn of the loop: large enough to hide its overhead, small enough
# that the last, partly empty turn is cheap (measured on CPU: 2,048 to 8,192
# cost the same).
_PAIRS_A_TURN = 4096
_MOST_PAIRS = 2**31 - 1


@flax.struct.dataclass
class Fragments:
  """What one image sees at each pixel.

  Attributes:
    depth: Depth of the nearest surface, `[H, W]`; -inf where nothing is.
    triangle_index: Its triangle, `[H, W]` int32; -1 where nothing is.
    barycentrics: Weights of its three vertices, `[H, W, 3]`; zeros where
      nothing is.
  """

  depth: Float[Array, "H W"]
  triangle_index: Int[Array, "H W"]
  barycentrics: Float[Array, "H W 3"]


def map_images(function: Callable[..., Any], *args: Any) -> Any:
  """Applies a function to each image of a batch.

  One after the other on CPU, where one image's arrays stay in the cache; all
  at once elsewhere. The results are equal.

  Args:
    function: Takes what one image has of each argument.
    *args: Pytrees of arrays with a leading batch dimension.

  Returns:
    The function's results with a leading batch dimension.
  """
  return lax.platform_dependent(
    *args,
    cpu=lambda *a: lax.map(lambda one: function(*one), a),
    default=jax.vmap(function),
  )


def rasterize(
  points: Float[Array, "V 3"],
  triangles: Int[Array, "F 3"],
  *,
  height: int,
  width: int,
  cull_back_faces: bool = False,
) -> Fragments:
  """Finds the nearest triangle of each pixel of one image.

  Args:
    points: Vertices as (x pixels, y pixels, depth), `[V, 3]`. A triangle with
      a vertex that is not finite is left out.
    triangles: Vertex indices, `[F, 3]`. One without area is left out.
    height: Pixels, H.
    width: Pixels, W.
    cull_back_faces: Leaves out triangles seen from behind, that is clockwise
      on the screen.

  Returns:
    `Fragments`.
  """
  num_triangles = triangles.shape[0]
  depth = jnp.full((height * width,), -jnp.inf, points.dtype)
  index = jnp.full((height * width,), -1, jnp.int32)
  # The pairs of one block must not overflow their int32 number.
  block = max(1, min(num_triangles, _MOST_PAIRS // (height * width)))
  num_blocks = -(-num_triangles // block)

  def draw(
    start: Array, buffers: tuple[Array, Array], part: Array
  ) -> tuple[Array, Array]:
    return _draw_block(
      points, part, start, buffers, (height, width), cull_back_faces
    )

  if num_blocks == 1:
    depth, index = draw(jnp.int32(0), (depth, index), triangles)
  elif num_blocks > 1:
    padding = num_blocks * block - num_triangles
    # Triangle (0, 0, 0) has no area: it draws nothing.
    blocks = jnp.pad(triangles, ((0, padding), (0, 0))).reshape(-1, block, 3)
    depth, index = lax.fori_loop(
      0, num_blocks, lambda i, s: draw(i * block, s, blocks[i]), (depth, index)
    )
  return _fragments(points, triangles, depth, index, (height, width))


def _draw_block(
  points: Array,
  triangles: Array,
  first: Array,
  buffers: tuple[Array, Array],
  size: tuple[int, int],
  cull: bool,
) -> tuple[Array, Array]:
  """Draws triangles whose indices start at `first` into flat buffers."""
  height, width = size
  xs, ys = points[:, 0][triangles], points[:, 1][triangles]
  left, columns = _pixel_range(xs, width)
  top, rows = _pixel_range(ys, height)
  drawn = jnp.all(jnp.isfinite(points), -1)[triangles].all(-1)
  if cull:
    a, b, c = (jnp.stack([xs[:, k], ys[:, k]]) for k in range(3))
    u, v = b - a, c - a
    drawn &= u[0] * v[1] - u[1] * v[0] < 0
  counts = jnp.where(drawn, columns * rows, 0)
  ends = jnp.cumsum(counts)
  starts, total = ends - counts, ends[-1]
  turn = max(_PAIRS_A_TURN, height * width // 8)

  def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    done, depth, index = state
    pair = done + jnp.arange(turn, dtype=jnp.int32)
    triangle = jnp.searchsorted(ends, pair, side="right", method="scan")
    triangle = jnp.minimum(triangle, triangles.shape[0] - 1)
    within = pair - starts[triangle]
    across = jnp.maximum(columns[triangle], 1)
    x = left[triangle] + within % across
    y = top[triangle] + within // across
    corners = triangles[triangle]
    edges, z = _evaluate(points, corners, x, y)
    area = jnp.sum(edges, -1)
    inside = jnp.all(edges <= 0, -1)
    if not cull:
      inside |= jnp.all(edges >= 0, -1)
    inside &= (area != 0) & (pair >= done) & (pair < total)
    # One z for both uses below: were it computed twice, it could round
    # differently and a pixel would lose its triangle.
    z = lax.optimization_barrier(jnp.where(inside, z, -jnp.inf))
    pixel = jnp.where(inside, y * width + x, height * width)
    nearer = depth.at[pixel].max(z, mode="drop")
    wins = inside & (z == nearer.at[pixel].get(mode="fill", fill_value=0))
    # Pairs come in the order of their triangles: whoever wins now has the
    # greatest index so far.
    index = index.at[pixel].max(
      jnp.where(wins, first + triangle, -1), mode="drop"
    )
    return done + turn, nearer, index

  # done + turn may pass 2^31 and come out negative: then all is done.
  def unfinished(state: tuple[Array, Array, Array]) -> Array:
    return (state[0] >= 0) & (state[0] < total)

  _, depth, index = lax.while_loop(unfinished, step, (jnp.int32(0), *buffers))
  return depth, index


def _pixel_range(coordinates: Array, size: int) -> tuple[Array, Array]:
  """First pixel centre in the range of `[F, 3]` inside [0, size); how many."""
  low = jnp.clip(jnp.ceil(jnp.min(coordinates, -1)), 0, size)
  high = jnp.clip(jnp.floor(jnp.max(coordinates, -1)), -1, size - 1)
  count = jnp.maximum(high - low + 1, 0)
  return low.astype(jnp.int32), count.astype(jnp.int32)


def _evaluate(
  points: Array, corners: Array, x: Array, y: Array
) -> tuple[Array, Array]:
  """Edge functions `[P, 3]` and depth `[P]` of triangles at pixels."""
  position = points[corners]
  fx, fy = x.astype(points.dtype), y.astype(points.dtype)
  edges = jnp.stack(
    [
      _edge(position, corners, 1, 2, fx, fy),
      _edge(position, corners, 2, 0, fx, fy),
      _edge(position, corners, 0, 1, fx, fy),
    ],
    -1,
  )
  area = jnp.sum(edges, -1)
  z = jnp.sum(edges * position[..., 2], -1) / jnp.where(area == 0, 1, area)
  return edges, z


def _edge(
  position: Array, corners: Array, a: int, b: int, x: Array, y: Array
) -> Array:
  """Twice the signed area of (a, b, pixel); positive clockwise on screen.

  Two triangles that share an edge evaluate it from the same end, so that
  rounding cannot leave a crack between them.
  """
  swap = corners[..., a] > corners[..., b]
  first = jnp.where(swap[..., None], position[..., b, :], position[..., a, :])
  second = jnp.where(swap[..., None], position[..., a, :], position[..., b, :])
  area = (first[..., 0] - x) * (second[..., 1] - y) - (first[..., 1] - y) * (
    second[..., 0] - x
  )
  return jnp.where(swap, -area, area)


def _fragments(
  points: Array,
  triangles: Array,
  depth: Array,
  index: Array,
  size: tuple[int, int],
) -> Fragments:
  height, width = size
  y, x = jnp.divmod(jnp.arange(height * width, dtype=jnp.int32), width)
  if triangles.shape[0]:
    corners = triangles[jnp.maximum(index, 0)]
    edges, _ = _evaluate(points, corners, x, y)
    area = jnp.sum(edges, -1, keepdims=True)
    barycentrics = edges / jnp.where(area == 0, 1, area)
  else:
    barycentrics = jnp.zeros((height * width, 3), points.dtype)
  covered = (index >= 0)[:, None]
  return Fragments(
    depth=depth.reshape(height, width),
    triangle_index=index.reshape(height, width),
    barycentrics=jnp.where(covered, barycentrics, 0).reshape(height, width, 3),
  )
