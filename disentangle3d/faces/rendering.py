"""Renders meshes: z-buffer, spherical-harmonic shading, vertex visibility.

Everything is plain XLA: it may be jitted and vmapped, on any device.
Gradients are not meant. Images are RGB in [0, 1]; the camera is
`geometry.Camera`, depth is the third camera coordinate in millimetres and
grows towards the viewer.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from disentangle3d.faces.rasterizer import Fragments, map_images, rasterize
from disentangle3d.faces.shading import (
  ambient_light,
  directional_light,
  irradiance,
  normals_of,
  vertex_normals,
)
from disentangle3d.geometry import Camera, project
from disentangle3d.types import check_array

__all__ = [
  "Rendering",
  "default_lighting",
  "point_visibility",
  "render",
  "screen_points",
  "vertex_normals",
  "vertex_visibility",
]

_GREY = 0.75
# The inside of an open mesh lies in the shadow of the rest.
_BACK_FACE_SHADE = 0.45


@flax.struct.dataclass
class Rendering:
  """Rendered images and what is seen at each pixel.

  Attributes:
    image: RGB in [0, 1], `[B, H, W, 3]` float32.
    depth: Third camera coordinate of the surface, `[B, H, W]`, mm, greater is
      nearer; -inf where nothing is.
    triangle_index: Nearest triangle, `[B, H, W]` int32; -1 where nothing is.
    barycentrics: Weights of that triangle's vertices, `[B, H, W, 3]`.
  """

  image: Float[Array, "B H W 3"]
  depth: Float[Array, "B H W"]
  triangle_index: Int[Array, "B H W"]
  barycentrics: Float[Array, "B H W 3"]


def default_lighting(batch: int) -> Float[Array, "B 9 3"]:
  """A white light from the viewer's upper left, and some from everywhere."""
  white = jnp.ones((3,), jnp.float32)
  light = ambient_light(0.35 * white) + directional_light(
    jnp.asarray([-0.4, 0.5, 1.0], jnp.float32), 0.7 * white
  )
  return jnp.broadcast_to(light[None], (batch, 9, 3))


def render(
  vertices: Float[Array, "B V 3"],
  triangles: Int[Array, "F 3"],
  camera: Camera,
  *,
  height: int,
  width: int,
  colors: Float[Array, "B V 3"] | None = None,
  lighting: Float[Array, "B 9 3"] | None = None,
  background: Float[Array, "B H W 3"] | None = None,
  cull_back_faces: bool = False,
) -> Rendering:
  """Renders a batch of meshes that share their triangles.

  A pixel shows the nearest triangle that covers its centre, of several at
  the same depth the one with the greatest index; triangles may have any
  size and may leave the image. Colours and normals are interpolated, one
  sample a pixel.

  Args:
    vertices: Shapes, `[B, V, 3]`, mm.
    triangles: Vertex indices, `[F, 3]`, counter-clockwise from outside.
    camera: Cameras, batch dimensions `[B]`.
    height: Pixels, H.
    width: Pixels, W.
    colors: Albedo, RGB in [0, 1], `[B, V, 3]`; None is light grey.
    lighting: Spherical-harmonic irradiance in camera axes, `[B, 9, 3]` (see
      `faces.shading`); None is `default_lighting`.
    background: RGB in [0, 1], `[B, H, W, 3]`; None is white.
    cull_back_faces: Leaves triangles seen from behind out, which is exact for
      a closed surface. Otherwise they are drawn, darker, with their normals
      turned to the viewer, as the inside of an open mask should be.

  Returns:
    `Rendering`.

  Raises:
    ValueError: A shape differs, or height or width is not positive.
    TypeError: A dtype differs.
  """
  if height < 1 or width < 1:
    raise ValueError(
      f"height, width: expected at least 1, got {height}, {width}"
    )
  sizes = check_array("vertices", vertices, "B V 3")
  check_array("triangles", triangles, "F 3", dtype="integer")
  triangles = jnp.asarray(triangles, jnp.int32)
  batch = sizes["B"]
  _check_camera(camera, batch)
  grey = jnp.full_like(vertices, _GREY)
  colors = grey if colors is None else colors
  check_array("colors", colors, "B V 3", sizes=sizes)
  lighting = default_lighting(batch) if lighting is None else lighting
  check_array("lighting", lighting, f"{batch} 9 3")
  if background is None:
    background = jnp.ones((batch, height, width, 3), jnp.float32)
  check_array("background", background, f"{batch} {height} {width} 3")
  points = screen_points(camera, vertices)

  def one(
    points: Array,
    vertices: Array,
    rotation: Array,
    colors: Array,
    lighting: Array,
    background: Array,
  ) -> Rendering:
    seen = rasterize(
      points,
      triangles,
      height=height,
      width=width,
      cull_back_faces=cull_back_faces,
    )
    corners = triangles[jnp.maximum(seen.triangle_index, 0)]
    normals = normals_of(vertices, triangles) @ rotation.T
    image = _shade(seen, corners, points, normals, colors, lighting)
    covered = (seen.triangle_index >= 0)[..., None]
    return Rendering(
      image=jnp.clip(jnp.where(covered, image, background), 0, 1),
      depth=seen.depth,
      triangle_index=seen.triangle_index,
      barycentrics=seen.barycentrics,
    )

  return map_images(
    one, points, vertices, camera.rotation, colors, lighting, background
  )


def vertex_visibility(
  depth: Float[Array, "B H W"],
  vertices: Float[Array, "B V 3"],
  triangles: Int[Array, "F 3"],
  camera: Camera,
  *,
  tolerance_mm: float = 3.0,
) -> Bool[Array, "B V"]:
  """Tells which vertices the camera sees.

  Args:
    depth: Of the same mesh before the same camera, as `Rendering` has it.
    vertices: Shapes, `[B, V, 3]`, mm.
    triangles: Vertex indices, `[F, 3]`.
    camera: Cameras, batch dimensions `[B]`.
    tolerance_mm: See `point_visibility`.

  Returns:
    True where a vertex is seen, `[B, V]`.

  Raises:
    ValueError: A shape differs.
    TypeError: A dtype differs.
  """
  return point_visibility(
    depth,
    vertices,
    vertex_normals(vertices, triangles),
    camera,
    tolerance_mm=tolerance_mm,
  )


def point_visibility(
  depth: Float[Array, "B H W"],
  points: Float[Array, "B P 3"],
  normals: Float[Array, "B P 3"] | None,
  camera: Camera,
  *,
  tolerance_mm: float = 3.0,
) -> Bool[Array, "B P"]:
  """Tells which points of the rendered surface the camera sees.

  A point is seen when it lies inside the image, its normal faces the camera
  and at one of the four pixels around it nothing is nearer than the point by
  more than `tolerance_mm`. So within one pixel of a silhouette a hidden point
  may pass for a seen one, and on a slope no seen point passes for hidden.

  Args:
    depth: Of the mesh the points lie on, as `Rendering` has it, `[B, H, W]`.
    points: Points, `[B, P, 3]`, mm.
    normals: Their outward normals, `[B, P, 3]`; None leaves that test out,
      for points in a crease, whose normals say little.
    camera: Cameras, batch dimensions `[B]`.
    tolerance_mm: How far under the surface a seen point may lie.

  Returns:
    True where a point is seen, `[B, P]`.

  Raises:
    ValueError: A shape differs.
    TypeError: A dtype differs.
  """
  sizes = check_array("points", points, "B P 3")
  if normals is not None:
    check_array("normals", normals, "B P 3", sizes=sizes)
  sizes = check_array("depth", depth, "B H W", sizes=sizes)
  batch, height, width = sizes["B"], sizes["H"], sizes["W"]
  _check_camera(camera, batch)
  screen = screen_points(camera, points)
  x, y, z = screen[..., 0], screen[..., 1], screen[..., 2]
  inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
  flat = depth.reshape(batch, height * width)
  seen = jnp.zeros_like(inside)
  for dy in (0, 1):
    for dx in (0, 1):
      column = jnp.clip(jnp.floor(x) + dx, 0, width - 1).astype(jnp.int32)
      row = jnp.clip(jnp.floor(y) + dy, 0, height - 1).astype(jnp.int32)
      nearest = jnp.take_along_axis(flat, row * width + column, -1)
      seen |= nearest <= z + tolerance_mm
  if normals is not None:
    seen &= jnp.einsum("bj,bpj->bp", camera.rotation[:, 2], normals) > 0
  return inside & seen


def screen_points(
  camera: Camera, points: Float[Array, "*B P 3"]
) -> Float[Array, "*B P 3"]:
  """Where points are on the screen.

  Args:
    camera: Cameras, batch dimensions `[*B]`.
    points: Points, `[*B, P, 3]`, mm.

  Returns:
    (x pixels, y pixels, depth mm), `[*B, P, 3]`; depth grows towards the
    viewer.
  """
  depth = jnp.einsum("...j,...pj->...p", camera.rotation[..., 2, :], points)
  return jnp.concatenate([project(camera, points), depth[..., None]], -1)


def _shade(
  seen: Fragments,
  corners: Array,
  points: Array,
  normals: Array,
  colors: Array,
  lighting: Array,
) -> Array:
  """Colour times irradiance at each pixel, `[H, W, 3]`."""
  weights = seen.barycentrics[..., None]
  color = jnp.sum(weights * colors[corners], -2)
  normal = jnp.sum(weights * normals[corners], -2)
  a, b, c = (points[corners[..., k], :2] for k in range(3))
  # Counter-clockwise from outside is negative where y points down.
  area = (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (
    b[..., 1] - a[..., 1]
  ) * (c[..., 0] - a[..., 0])
  behind = (area > 0)[..., None]
  normal = jnp.where(behind, -normal, normal)
  length = jnp.sqrt(jnp.sum(normal * normal, -1, keepdims=True))
  normal = normal / jnp.maximum(length, 1e-6)
  shade = jnp.where(behind, _BACK_FACE_SHADE, 1.0)
  return color * irradiance(normal, lighting) * shade


def _check_camera(camera: Camera, batch: int) -> None:
  check_array("camera.scale", camera.scale, f"{batch}")
  check_array("camera.rotation", camera.rotation, f"{batch} 3 3")
  check_array("camera.translation", camera.translation, f"{batch} 2")
