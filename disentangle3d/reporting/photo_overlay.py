"""A mesh drawn over a photo of any size, in the photo's own resolution."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from disentangle3d.geometry import Camera, project, transform_camera
from disentangle3d.reporting.figures import overlay_mesh
from disentangle3d.reporting.pictures import check_photo
from disentangle3d.types import check_array

# Squares that are drawn at once: few sizes, so few programs to compile. The
# largest takes 0.3 GB.
_TILES_PX = (128, 256, 512)


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
  points = np.asarray(project(camera, jnp.asarray(vertices)))
  size = np.array([photo.shape[1], photo.shape[0]])
  low = np.clip(np.floor(points.min(0)) - 1, 0, size).astype(int)
  high = np.clip(np.ceil(points.max(0)) + 2, 0, size).astype(int)
  side = int(max(high - low))
  tile = next((t for t in _TILES_PX if t >= side), _TILES_PX[-1])
  drawn = photo.copy()
  for top in range(low[1], high[1], tile):
    for left in range(low[0], high[0], tile):
      part = np.zeros((tile, tile, 3), np.uint8)
      place = photo[top : top + tile, left : left + tile]
      height, width = place.shape[:2]
      part[:height, :width] = place
      moved = jnp.asarray([[1, 0, -left], [0, 1, -top]], jnp.float32)
      picture = overlay_mesh(
        part,
        vertices,
        triangles,
        transform_camera(camera, moved),
        upscale=1,
        opacity=opacity,
      )
      drawn[top : top + height, left : left + width] = picture[:height, :width]
  return drawn
