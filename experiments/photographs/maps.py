"""Shapes of faces as their photos' cameras see them."""

from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import numpy as np

from data_prep.faces.found_faces import FoundFace
from disentangle3d.faces.rendering import render, vertex_visibility
from disentangle3d.faces.shading import vertex_normals
from disentangle3d.geometry import Camera, transform_camera
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH
from experiments.photographs.shapes import Codes, FaceMaker

# The maps show the crop and so many of its pixels around it (the chin is often
# below), enlarged so many times.
_MAP_MARGIN_PX = 24
_MAP_SCALE = 3
_MAP_SHIFT = _MAP_SCALE * _MAP_MARGIN_PX + (_MAP_SCALE - 1) / 2
MAP_FROM_CROP = np.array(
  [[_MAP_SCALE, 0, _MAP_SHIFT], [0, _MAP_SCALE, _MAP_SHIFT]], np.float32
)


@dataclasses.dataclass(frozen=True, eq=False)
class Maps:
  """What a camera sees of a face, in the pixels of `MAP_FROM_CROP`.

  Attributes:
    shape: `[V, 3]`, mm.
    identity_shape: `[V, 3]`, mm.
    depth_mm: Towards the viewer, NaN where nothing is, `[480, 432]`.
    normals: In camera axes, unit length, 0 where nothing is, `[480, 432, 3]`.
    seen: Which vertices the camera sees, `[V]`.
    facing: The cosine between a vertex' normal and the viewer; 0 where it is
      not seen, `[V]`.
  """

  shape: Float[np.ndarray, "V 3"]
  identity_shape: Float[np.ndarray, "V 3"]
  depth_mm: Float[np.ndarray, "H W"]
  normals: Float[np.ndarray, "H W 3"]
  seen: Bool[np.ndarray, "V"]
  facing: Float[np.ndarray, "V"]


def face_maps(
  maker: FaceMaker, codes: Codes, cameras: Camera, faces: Sequence[FoundFace]
) -> list[Maps]:
  """Shapes and maps of some faces, one by one."""
  made = []
  for row, face in enumerate(faces):
    own = slice(row, row + 1)
    shape, identity_shape = maker.decode(
      codes.identity[own], codes.residual[own]
    )
    camera = jax.tree.map(lambda leaf, o=own: leaf[o], cameras)
    drawn = _maps(shape, maker.triangles, camera, face.crop_from_photo[None])
    made.append(
      Maps(
        *(leaf[0] for leaf in jax.device_get((shape, identity_shape, *drawn)))
      )
    )
  return made


@jax.jit
def _maps(
  shape: Array, triangles: Array, camera: Camera, crop_from_photo: Array
) -> tuple[Array, Array, Array, Array]:
  to_crop = transform_camera(camera, crop_from_photo)
  large = transform_camera(
    to_crop, jnp.broadcast_to(MAP_FROM_CROP[None], crop_from_photo.shape)
  )
  drawn = render(
    shape,
    triangles,
    large,
    height=_MAP_SCALE * (IMAGE_HEIGHT + 2 * _MAP_MARGIN_PX),
    width=_MAP_SCALE * (IMAGE_WIDTH + 2 * _MAP_MARGIN_PX),
  )
  normals = jnp.einsum(
    "bij,bvj->bvi", large.rotation, vertex_normals(shape, triangles)
  )
  covered = drawn.triangle_index >= 0
  corners = triangles[jnp.maximum(drawn.triangle_index, 0)]
  at = jax.vmap(lambda values, where: values[where])(normals, corners)
  normal = jnp.sum(drawn.barycentrics[..., None] * at, -2)
  length = jnp.sqrt(jnp.sum(normal * normal, -1, keepdims=True))
  normal = jnp.where(covered[..., None], normal / jnp.maximum(length, 1e-6), 0)
  depth = jnp.where(covered, drawn.depth, jnp.nan)
  seen = vertex_visibility(drawn, shape, triangles, large)
  return depth, normal, seen, jnp.where(seen, normals[..., 2], 0.0)
