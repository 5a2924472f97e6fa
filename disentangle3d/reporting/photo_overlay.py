"""A mesh drawn over a photo of any size, in the photo's own resolution."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np
from PIL import Image

from disentangle3d.faces.rendering import render
from disentangle3d.geometry import Camera, project, transform_camera
from disentangle3d.reporting.pictures import check_photo
from disentangle3d.types import check_array

# The square that is drawn at once, so there is one program. A face that is
# smaller in the photo is drawn this large and shrunk, so its edges are smooth.
_TILE_PX = 512
# By how much a square is enlarged before there are more of them: each takes as
# long.
_ENLARGED = 1.5
_SKY = (0.45, 0.75, 0.95)


def overlay_on_photo(
  photo: UInt8[np.ndarray, "H W 3"],
  vertices: Float[Array | np.ndarray, "V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
  camera: Camera,
  *,
  opacity: float = 0.6,
) -> UInt8[np.ndarray, "H W 3"]:
  """Draws a mesh over a photo; only where the mesh is, tile by tile.

  Args:
    photo: `[H, W, 3]` uint8.
    vertices: `[V, 3]`, mm.
    triangles: Vertex indices, `[F, 3]`.
    camera: One camera without batch dimensions, in the photo's pixels.
    opacity: 1 hides the photo under the mesh, 0 hides the mesh.

  Returns:
    As `photo`.

  Raises:
    ValueError: A shape differs, or `opacity` is out of range.
    TypeError: A dtype differs.
  """
  check_photo("photo", photo)
  check_array("vertices", vertices, "V 3")
  if not 0 <= opacity <= 1:
    raise ValueError(f"opacity: expected a number in [0, 1], got {opacity}")
  points = np.asarray(_project(camera, vertices))
  size = np.array([photo.shape[1], photo.shape[0]])
  low = np.clip(np.floor(points.min(0)) - 1, 0, size).astype(int)
  high = np.clip(np.ceil(points.max(0)) + 2, 0, size).astype(int)
  side = int(max(high - low))
  drawn = photo.copy()
  if min(high - low) <= 0:
    return drawn
  tile = -(-side // math.ceil(side / (_ENLARGED * _TILE_PX)))
  for top in range(low[1], high[1], tile):
    for left in range(low[0], high[0], tile):
      place = drawn[top : top + tile, left : left + tile]
      pixels = _draw_tile(vertices, triangles, camera, left, top, tile)
      pixels = pixels[: place.shape[0], : place.shape[1]]
      share = opacity / 255 * pixels[..., 3:]
      place[:] = np.round(place * (1 - share) + pixels[..., :3] * share)
  return drawn


def _draw_tile(
  vertices: Array | np.ndarray,
  triangles: Array | np.ndarray,
  camera: Camera,
  left: int,
  top: int,
  tile: int,
) -> UInt8[np.ndarray, "t t 4"]:
  """Red, green, blue and coverage of the mesh in a square of the photo."""
  factor = _TILE_PX / tile
  shift = (factor - 1) / 2
  large = np.array(
    [[factor, 0, shift - factor * left], [0, factor, shift - factor * top]],
    np.float32,
  )
  made = _draw(vertices, triangles, camera, large, size=_TILE_PX)
  picture = Image.fromarray(np.asarray(made))
  sampling = Image.Resampling.BOX if factor > 1 else Image.Resampling.BILINEAR
  return np.asarray(picture.resize((tile, tile), sampling))


@functools.partial(jax.jit, static_argnames="size")
def _draw(
  vertices: Float[Array, "V 3"],
  triangles: Int[Array, "F 3"],
  camera: Camera,
  matrix: Float[Array, "2 3"],
  *,
  size: int,
) -> UInt8[Array, "T T 4"]:
  moved = jax.tree.map(
    lambda leaf: jnp.asarray(leaf)[None], transform_camera(camera, matrix)
  )
  drawn = render(
    vertices[None],
    triangles,
    moved,
    height=size,
    width=size,
    colors=jnp.broadcast_to(jnp.asarray(_SKY), (1, *vertices.shape)),
  )
  covered = (drawn.triangle_index[0] >= 0)[..., None]
  pixels = jnp.concatenate([drawn.image[0], covered], -1)
  return jnp.round(255 * pixels).astype(jnp.uint8)


_project = jax.jit(project)
