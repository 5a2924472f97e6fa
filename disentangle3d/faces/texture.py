"""Colours of a mesh's vertices out of the photo that shows it (host)."""

from jaxtyping import Bool, Float, Int, UInt8
import numpy as np
import scipy

from disentangle3d.types import check_array


def vertex_colors(
  photo: UInt8[np.ndarray, "H W 3"],
  points: Float[np.ndarray, "V 2"],
  seen: Bool[np.ndarray, "V"],
  vertices: Float[np.ndarray, "V 3"],
  *,
  mirror_vertices: Int[np.ndarray, "V"] | None = None,
) -> UInt8[np.ndarray, "V 3"]:
  """Samples the photo where vertices are seen, and guesses the rest.

  A vertex that is not seen takes the colour of its mirror vertex if that is
  seen, else of the nearest seen vertex.

  Args:
    photo: RGB, `[H, W, 3]`.
    points: Where the vertices are in the photo, `[V, 2]`, pixels.
    seen: Which of them the photo shows, `[V]`.
    vertices: The mesh, `[V, 3]`, mm.
    mirror_vertices: Each vertex' counterpart, `[V]`, or None.

  Returns:
    RGB, `[V, 3]`.

  Raises:
    ValueError: A shape differs, or no vertex is seen inside the photo.
    TypeError: A dtype differs.
  """
  check_array("photo", photo, "H W 3", dtype="any")
  sizes = check_array("points", points, "V 2")
  check_array("seen", seen, "V", dtype="any", sizes=sizes)
  check_array("vertices", vertices, "V 3", sizes=sizes)
  far = np.array([[photo.shape[1], photo.shape[0]]]) - 1
  seen = seen & np.all((points >= 0) & (points <= far), axis=-1)
  if not seen.any():
    raise ValueError("seen: expected a vertex inside the photo, got none")
  colors = np.zeros((len(points), 3), np.float32)
  # The face's part of the photo: floats of all of it take much memory.
  low = np.floor(points[seen].min(0)).astype(int)
  right, below = np.ceil(points[seen].max(0)).astype(int) + 1
  photo = photo[low[1] : below, low[0] : right]
  where = (points[seen] - low[None]).T[::-1]
  for channel in range(3):
    colors[seen, channel] = scipy.ndimage.map_coordinates(
      photo[..., channel].astype(np.float32), where, order=1
    )
  known = seen.copy()
  if mirror_vertices is not None:
    mirrored = ~seen & seen[mirror_vertices]
    colors[mirrored] = colors[mirror_vertices[mirrored]]
    known |= mirrored
  if not known.all():
    _, nearest = scipy.spatial.cKDTree(vertices[known]).query(vertices[~known])
    colors[~known] = colors[known][nearest]
  return np.round(np.clip(colors, 0, 255)).astype(np.uint8)
