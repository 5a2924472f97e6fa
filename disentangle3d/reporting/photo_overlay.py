"""A mesh drawn over a photo of any size, in the photo's own resolution."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np
from PIL import Image

from disentangle3d.faces.rendering import default_lighting, screen_points
from disentangle3d.faces.shading import irradiance, normals_of
from disentangle3d.faces.unwrapping import draw_triangles
from disentangle3d.geometry import Camera
from disentangle3d.reporting.pictures import check_photo
from disentangle3d.types import check_array

# A face that is smaller in the photo is drawn this large and shrunk, so its
# edges are smooth; a larger one is enlarged by so much, which saves time, and
# drawn in squares, which bounds the memory.
_LEAST_PX, _MOST_PX, _ENLARGED = 512, 1024, 1.5
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
  points, colors = jax.device_get(_shaded(camera, vertices, triangles))
  triangles = _facing(points, np.asarray(triangles))
  size = np.array([photo.shape[1], photo.shape[0]])
  low = np.clip(np.floor(points[:, :2].min(0)) - 1, 0, size).astype(int)
  high = np.clip(np.ceil(points[:, :2].max(0)) + 2, 0, size).astype(int)
  side = int(max(high - low))
  drawn = photo.copy()
  if min(high - low) <= 0:
    return drawn
  tile = math.ceil(side / math.ceil(side / (_ENLARGED * _MOST_PX)))
  for top in range(low[1], high[1], tile):
    for left in range(low[0], high[0], tile):
      place = drawn[top : top + tile, left : left + tile]
      moved = points - np.array([left, top, 0], np.float32)
      pixels = _draw_tile(moved, triangles, colors, tile)
      pixels = pixels[: place.shape[0], : place.shape[1]]
      share = np.float32(opacity / 255) * pixels[..., 3:]
      place[:] = np.round(place * (1 - share) + pixels[..., :3] * share)
  return drawn


@jax.jit
def _shaded(
  camera: Camera, vertices: Float[Array, "V 3"], triangles: Int[Array, "F 3"]
) -> tuple[Float[Array, "V 3"], Float[Array, "V 3"]]:
  """Vertices as (x pixels, y pixels, depth), and their colours, 0 to 255."""
  points = screen_points(camera, vertices)
  normals = normals_of(vertices, triangles) @ camera.rotation.T
  light = irradiance(normals, default_lighting(1)[0])
  return points, 255 * jnp.clip(jnp.asarray(_SKY)[None] * light, 0, 1)


def _facing(
  points: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Int[np.ndarray, "f 3"]:
  """Those triangles whose outside the photo shows."""
  first, second, third = points[triangles, :2].transpose(1, 2, 0)
  one, other = second - first, third - first
  return triangles[one[0] * other[1] - one[1] * other[0] < 0]


def _draw_tile(
  points: Float[np.ndarray, "V 3"],
  triangles: Int[np.ndarray, "F 3"],
  colors: Float[np.ndarray, "V 3"],
  tile: int,
) -> UInt8[np.ndarray, "t t 4"]:
  """Red, green, blue and coverage of the mesh in a square at the origin."""
  size = max(_LEAST_PX, math.ceil(tile / _ENLARGED))
  factor = size / tile
  large = points * np.float32(factor)
  large[:, :2] += (factor - 1) / 2
  seen = draw_triangles(large, triangles, size, size)
  made = np.zeros((size, size, 4), np.uint8)
  made[seen.covered, :3] = np.round(seen.of(colors, triangles))
  made[seen.covered, 3] = 255
  sampling = Image.Resampling.BOX if factor > 1 else Image.Resampling.BILINEAR
  return np.asarray(Image.fromarray(made).resize((tile, tile), sampling))
