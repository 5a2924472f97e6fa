"""Vertex normals and spherical-harmonic light.

Light is given in camera axes (x to the image's right, y up, z towards the
viewer) as irradiance: nine coefficients a colour channel, of the real
spherical harmonics up to degree 2 in the order 1; y, z, x; xy, yz, 3z^2 - 1,
xz, x^2 - y^2 (Ramamoorthi and Hanrahan 2001). A white surface facing a white
directional light of strength 1 shines at about 1.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from disentangle3d.faces.rasterizer import map_images
from disentangle3d.types import check_array

_Y0 = 0.282095
_Y1 = 0.488603
_Y2 = 1.092548
_Y20 = 0.315392
_Y22 = 0.546274
# What the cosine lobe keeps of each degree, divided by its integral pi.
_LOBE = (1.0, *(2 / 3,) * 3, *(1 / 4,) * 5)


def vertex_normals(
  vertices: Float[Array, "B V 3"], triangles: Int[Array, "F 3"]
) -> Float[Array, "B V 3"]:
  """Unit normals: the area-weighted mean of the triangles around a vertex.

  Args:
    vertices: Shapes, `[B, V, 3]`.
    triangles: Vertex indices, `[F, 3]`, counter-clockwise from outside.

  Returns:
    Normals, `[B, V, 3]`, pointing outside; zero at a vertex of no triangle.

  Raises:
    ValueError: A shape differs.
    TypeError: A dtype differs.
  """
  check_array("vertices", vertices, "B V 3")
  check_array("triangles", triangles, "F 3", dtype="integer")
  return map_images(lambda one: normals_of(one, triangles), vertices)


def normals_of(
  vertices: Float[Array, "V 3"], triangles: Int[Array, "F 3"]
) -> Float[Array, "V 3"]:
  """`vertex_normals` of one shape."""
  corners = vertices[triangles]
  # The cross product's length is twice the triangle's area.
  weighted = jnp.cross(
    corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
  )
  total = jnp.zeros_like(vertices)
  total = total.at[triangles].add(
    jnp.broadcast_to(weighted[:, None], corners.shape)
  )
  return _unit(total)


def irradiance_basis(normals: Float[Array, "... 3"]) -> Float[Array, "... 9"]:
  """The nine spherical harmonics at unit vectors `[..., 3]`."""
  x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
  return jnp.stack(
    [
      jnp.full_like(x, _Y0),
      _Y1 * y,
      _Y1 * z,
      _Y1 * x,
      _Y2 * x * y,
      _Y2 * y * z,
      _Y20 * (3 * z * z - 1),
      _Y2 * x * z,
      _Y22 * (x * x - y * y),
    ],
    -1,
  )


def ambient_light(color: Float[Array, "... 3"]) -> Float[Array, "... 9 3"]:
  """Light that comes equally from everywhere.

  Args:
    color: Irradiance, `[..., 3]`.

  Returns:
    Coefficients for `render`, `[..., 9, 3]`.
  """
  check_array("color", color, "... 3")
  rest = jnp.zeros((*color.shape[:-1], 8, 3), color.dtype)
  return jnp.concatenate([color[..., None, :] / _Y0, rest], -2)


def directional_light(
  direction: Float[Array, "... 3"], color: Float[Array, "... 3"]
) -> Float[Array, "... 9 3"]:
  """Light from one direction, as far as degree 2 can tell.

  Args:
    direction: Towards the light, `[..., 3]`, any length but zero.
    color: Irradiance of a surface that faces it, `[..., 3]`.

  Returns:
    Coefficients for `render`, `[..., 9, 3]`; those of several lights add.
  """
  check_array("direction", direction, "... 3")
  check_array("color", color, "... 3")
  lobe = jnp.asarray(_LOBE, direction.dtype)
  lobe = lobe.reshape((1,) * (direction.ndim - 1) + (9,))
  coefficients = jnp.pi * lobe * irradiance_basis(_unit(direction))
  return coefficients[..., None] * color[..., None, :]


def irradiance(
  normals: Float[Array, "... 3"], lighting: Float[Array, "9 3"]
) -> Float[Array, "... 3"]:
  """Irradiance of surfaces with unit normals `[..., 3]`, never negative."""
  return jnp.maximum(irradiance_basis(normals) @ lighting, 0)


def _unit(vectors: Array) -> Array:
  square = jnp.sum(vectors * vectors, -1, keepdims=True)
  return vectors * jnp.where(
    square > 0, 1 / jnp.sqrt(jnp.where(square > 0, square, 1)), 0
  )
