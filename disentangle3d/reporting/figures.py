"""Pictures of faces for reports: host functions from arrays to RGB arrays.

Pictures are uint8 RGB, `[H, W, 3]`. A colour is RGB in [0, 1]. Everything is
drawn at twice its size and averaged, so edges are smooth. These functions are
the callers of `render`: they compile it, once for each mesh and picture size
(some seconds), so a report should keep to few sizes.
"""

from collections.abc import Sequence
import textwrap

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import matplotlib
from matplotlib.figure import Figure
import numpy as np

from disentangle3d.faces.rendering import default_lighting, render
from disentangle3d.faces.shading import ambient_light, directional_light
from disentangle3d.geometry import Camera, rotation_from_euler, transform_camera
from disentangle3d.reporting.pictures import (
  Color,
  contact_sheet,
  draw_landmarks,
  enlarge,
)
from disentangle3d.types import check_array

__all__ = [
  "contact_sheet",
  "draw_landmarks",
  "error_colors",
  "error_views",
  "heat_map",
  "overlay_mesh",
  "portrait_camera",
  "render_shape",
]

GREY: Color = (0.78, 0.78, 0.78)
_SKY: Color = (0.45, 0.75, 0.95)
# Dark to light in print, and told apart by colour-blind readers.
ERROR_COLORS = "viridis"
_SUPERSAMPLE = 2
_MARGIN = 1.06
# In a line as wide as a face of a heat map.
_LABEL_LETTERS = 22

_render = jax.jit(render, static_argnames=("height", "width"))


def render_shape(
  vertices: Float[Array | np.ndarray, "*N V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
  *,
  yaw_rad: float = 0.0,
  pitch_rad: float = 0.0,
  size_px: int = 320,
  extent_mm: float | None = None,
  color: Color = GREY,
) -> UInt8[np.ndarray, "*N H W 3"]:
  """Shaded views of shapes on white, all at one scale and from one side.

  Args:
    vertices: One shape, `[V, 3]`, or several, `[N, V, 3]`, mm.
    triangles: Vertex indices, `[F, 3]`.
    yaw_rad: Turn of the head; 0 is the front, positive to the image's right.
    pitch_rad: Nod of the head, positive down.
    size_px: Height and width of each picture.
    extent_mm: What a picture's side shows; None fits the shapes given. Pass
      a number where pictures of several calls are to be compared.
    color: Albedo.

  Returns:
    `[size_px, size_px, 3]`, or `[N, size_px, size_px, 3]`, uint8.

  Raises:
    ValueError: A shape of an argument differs, or `size_px` is not positive.
    TypeError: A dtype differs.
  """
  shapes = _as_batch(vertices)
  camera = portrait_camera(
    shapes,
    yaw_rad=yaw_rad,
    pitch_rad=pitch_rad,
    size_px=size_px,
    extent_mm=extent_mm,
  )
  pictures = [
    _on_white(*_draw(shape, triangles, camera, size_px, size_px, color=color))
    for shape in shapes
  ]
  stacked = np.stack(pictures)
  return stacked if vertices.ndim == 3 else stacked[0]


def portrait_camera(
  shapes: Float[np.ndarray, "N V 3"],
  *,
  yaw_rad: float = 0.0,
  pitch_rad: float = 0.0,
  size_px: int = 320,
  extent_mm: float | None = None,
) -> Camera:
  """One camera that shows all shapes in the middle of a square picture."""
  if size_px < 1:
    raise ValueError(f"size_px: expected at least 1, got {size_px}")
  rotation = rotation_from_euler(
    jnp.float32(yaw_rad), jnp.float32(pitch_rad), jnp.float32(0.0)
  )
  turned = shapes.reshape(-1, 3) @ np.asarray(rotation).T
  low, high = turned[:, :2].min(0), turned[:, :2].max(0)
  if extent_mm is None:
    extent_mm = _MARGIN * float(np.max(high - low))
  if not extent_mm > 0:
    raise ValueError(f"extent_mm: expected a positive size, got {extent_mm}")
  scale = size_px / extent_mm
  middle = (low + high) / 2 * np.array([1, -1])
  return Camera(
    scale=jnp.float32(scale),
    rotation=rotation,
    translation=jnp.asarray((size_px - 1) / 2 - scale * middle, jnp.float32),
  )


def overlay_mesh(
  photo: UInt8[np.ndarray, "H W 3"],
  vertices: Float[Array | np.ndarray, "V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
  camera: Camera,
  *,
  upscale: int = 4,
  opacity: float = 0.6,
  color: Color = _SKY,
) -> UInt8[np.ndarray, "uH uW 3"]:
  """Draws a mesh over the photo that the camera belongs to.

  Args:
    photo: `[H, W, 3]` uint8.
    vertices: `[V, 3]`, mm.
    triangles: Vertex indices, `[F, 3]`.
    camera: One camera without batch dimensions, in the photo's pixels.
    upscale: The picture's size over the photo's, a whole number.
    opacity: 1 hides the photo under the mesh, 0 hides the mesh.
    color: Albedo of the mesh.

  Returns:
    `[upscale H, upscale W, 3]` uint8.

  Raises:
    ValueError: A shape differs, or `upscale` or `opacity` is out of range.
    TypeError: A dtype differs.
  """
  check_array("vertices", vertices, "V 3")
  if not 0 <= opacity <= 1:
    raise ValueError(f"opacity: expected a number in [0, 1], got {opacity}")
  large = enlarge(photo, upscale)
  enlarged = transform_camera(camera, _enlarging(upscale))
  image, coverage = _draw(
    np.asarray(vertices, np.float32),
    triangles,
    enlarged,
    *large.shape[:2],
    color=color,
  )
  share = opacity * coverage[..., None]
  return _to_uint8((1 - share) * large / 255 + share * image)


def heat_map(
  vertices: Float[Array | np.ndarray, "*N V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
  error_mm: Float[Array | np.ndarray, "*N V"],
  *,
  maximum_mm: float | None = None,
  labels: Sequence[str] = (),
  title: str = "distance to the true shape (mm)",
  yaw_rad: float = 0.0,
  size_px: int = 320,
) -> Figure:
  """Faces coloured by the error of each vertex, beside one colour bar in mm.

  Args:
    vertices: One shape, `[V, 3]`, or several, `[N, V, 3]`, mm.
    triangles: Vertex indices, `[F, 3]`.
    error_mm: Error of each vertex, `[V]` or `[N, V]`; grey where not finite
      (outside a protocol's region, say).
    maximum_mm: The colour bar's end; None takes the 99th percentile.
    labels: A line under each face, or none at all.
    title: What the colour bar says.
    yaw_rad: Turn of the heads.
    size_px: Height and width of each face.

  Returns:
    A matplotlib figure of N faces in a row.

  Raises:
    ValueError: A shape differs, there are not N labels, or no error is
      finite.
    TypeError: A dtype differs.
  """
  shapes = _as_batch(vertices)
  check_array("error_mm", error_mm, " ".join(map(str, vertices.shape[:-1])))
  error = np.asarray(error_mm, np.float64).reshape(shapes.shape[:2])
  known = np.isfinite(error)
  if not known.any():
    raise ValueError("error_mm: expected finite numbers, got none")
  if labels and len(labels) != len(shapes):
    raise ValueError(
      f"labels: expected {len(shapes)}, one for each shape, got {len(labels)}"
    )
  if maximum_mm is None:
    maximum_mm = max(float(np.percentile(error[known], 99)), 1e-3)
  pictures = error_views(
    shapes,
    triangles,
    error,
    maximum_mm=maximum_mm,
    yaw_rad=yaw_rad,
    size_px=size_px,
  )
  figure = Figure(figsize=(2.4 * len(shapes) + 1.0, 2.7), layout="constrained")
  axes = figure.subplots(1, len(shapes), squeeze=False)[0]
  for i, axis in enumerate(axes):
    axis.imshow(pictures[i], interpolation="lanczos")
    axis.set_axis_off()
    if labels:
      text = textwrap.fill(labels[i], _LABEL_LETTERS)
      axis.set_title(text, y=-0.02, va="top", fontsize=12)
  scale = matplotlib.cm.ScalarMappable(
    matplotlib.colors.Normalize(0, maximum_mm),
    matplotlib.colormaps[ERROR_COLORS],
  )
  bar = figure.colorbar(scale, ax=list(axes), extend="max", shrink=0.9)
  bar.set_label(title, fontsize=10)
  return figure


def error_views(
  vertices: Float[Array | np.ndarray, "N V 3"],
  triangles: Int[Array | np.ndarray, "F 3"],
  error_mm: Float[Array | np.ndarray, "N V"],
  *,
  maximum_mm: float,
  yaw_rad: float = 0.0,
  size_px: int = 320,
  extent_mm: float | None = None,
) -> UInt8[np.ndarray, "N H W 3"]:
  """Shapes coloured by a number of millimetres a vertex.

  Args:
    vertices: `[N, V, 3]`, mm.
    triangles: Vertex indices, `[F, 3]`.
    error_mm: `[N, V]`; grey where not finite.
    maximum_mm: What the last colour stands for, and all above.
    yaw_rad: Turn of the heads.
    size_px: Height and width of each picture.
    extent_mm: What a picture's side shows; None fits the shapes given.

  Returns:
    `[N, size_px, size_px, 3]` uint8.

  Raises:
    ValueError: A shape differs, or a size is not positive.
    TypeError: A dtype differs.
  """
  sizes = check_array("vertices", vertices, "N V 3")
  check_array("error_mm", error_mm, "N V", sizes=sizes)
  if not maximum_mm > 0:
    raise ValueError(f"maximum_mm: expected a positive size, got {maximum_mm}")
  shapes = np.asarray(vertices, np.float32)
  colors = error_colors(error_mm, maximum_mm)
  camera = portrait_camera(
    shapes, yaw_rad=yaw_rad, size_px=size_px, extent_mm=extent_mm
  )
  # Nearly flat light: a shadow must not read as another error.
  white = jnp.ones(3, jnp.float32)
  light = ambient_light(0.8 * white) + directional_light(
    jnp.asarray([0, 0.2, 1], jnp.float32), 0.25 * white
  )
  pictures = [
    _on_white(
      *_draw(
        shape, triangles, camera, size_px, size_px, color=color, lighting=light
      )
    )
    for shape, color in zip(shapes, colors, strict=True)
  ]
  return np.stack(pictures)


def error_colors(
  error_mm: Float[Array | np.ndarray, "*N"], maximum_mm: float
) -> Float[np.ndarray, "*N 3"]:
  """The colour bar's colour of each error; grey where it is not finite."""
  error = np.asarray(error_mm, np.float64)
  known = np.isfinite(error)
  colormap = matplotlib.colormaps[ERROR_COLORS]
  colors = np.where(
    known[..., None],
    colormap(np.where(known, error, 0.0) / maximum_mm)[..., :3],
    np.array(GREY),
  )
  return colors.astype(np.float32)


def _as_batch(vertices: Array | np.ndarray) -> np.ndarray:
  check_array("vertices", vertices, "... V 3")
  if vertices.ndim not in (2, 3):
    raise ValueError(
      "vertices: expected shape [V, 3] or [N, V, 3], got"
      f" {list(vertices.shape)}"
    )
  return np.asarray(vertices, np.float32).reshape(-1, *vertices.shape[-2:])


def _enlarging(factor: int) -> Array:
  """The map to the pixels of a picture `factor` times as large."""
  shift = (factor - 1) / 2
  return jnp.asarray([[factor, 0, shift], [0, factor, shift]], jnp.float32)


def _draw(
  shape: np.ndarray,
  triangles: Array | np.ndarray,
  camera: Camera,
  height: int,
  width: int,
  *,
  color: Color | np.ndarray,
  lighting: Array | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Colour of the mesh, `[H, W, 3]`, and how much of a pixel it covers."""
  colors = np.broadcast_to(np.asarray(color, np.float32), shape.shape)
  large = transform_camera(camera, _enlarging(_SUPERSAMPLE))
  drawn = _render(
    jnp.asarray(shape)[None],
    jnp.asarray(triangles),
    jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], large),
    height=height * _SUPERSAMPLE,
    width=width * _SUPERSAMPLE,
    colors=jnp.asarray(colors)[None],
    lighting=default_lighting(1) if lighting is None else lighting[None],
  )
  blocks = (height, _SUPERSAMPLE, width, _SUPERSAMPLE)
  covered = np.asarray(drawn.triangle_index[0] >= 0, np.float32)
  coverage = covered.reshape(blocks).mean((1, 3))
  total = (
    (np.asarray(drawn.image[0]) * covered[..., None])
    .reshape(*blocks, 3)
    .mean((1, 3))
  )
  return total / np.maximum(coverage, 1e-6)[..., None], coverage


def _on_white(image: np.ndarray, coverage: np.ndarray) -> np.ndarray:
  share = coverage[..., None]
  return _to_uint8(share * image + 1 - share)


def _to_uint8(image: np.ndarray) -> np.ndarray:
  return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
