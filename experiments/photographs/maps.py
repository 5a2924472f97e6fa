"""Shapes of faces as their photos' cameras see them."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from data_prep.faces.found_faces import FoundFace
from disentangle3d.faces.rendering import screen_points, vertex_visibility
from disentangle3d.faces.shading import vertex_normals
from disentangle3d.faces.unwrapping import draw_triangles
from disentangle3d.geometry import Camera, transform_camera
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH
from experiments.photographs.shapes import Codes, FaceMaker

# The maps show the crop and so many of its pixels around it (the chin is often
# below), enlarged so many times.
_MAP_MARGIN_PX = 24
_MAP_SCALE = 3
_MAP_SHIFT = _MAP_SCALE * _MAP_MARGIN_PX + (_MAP_SCALE - 1) / 2
_MAP_SIZE = (
  _MAP_SCALE * (IMAGE_HEIGHT + 2 * _MAP_MARGIN_PX),
  _MAP_SCALE * (IMAGE_WIDTH + 2 * _MAP_MARGIN_PX),
)
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
  maker: FaceMaker, codes: Codes, camera: Camera, found: FoundFace
) -> Maps:
  """Shapes and maps of a face.

  Args:
    maker: Makes its shapes.
    codes: Its own, `[1, ...]`.
    camera: In photo pixels, `[1]`.
    found: The face in the photo.
  """
  triangles = np.asarray(maker.triangles)
  shapes = maker.decode(codes.identity, codes.residual)
  camera = _before_map(camera, found.crop_from_photo[None])
  points, normals = jax.device_get(_placed(shapes[0], triangles, camera))
  depth, normal_map = _drawn(points[0], normals[0], triangles)
  seen = _visibility(depth[None], shapes[0], triangles, camera)
  (shape,), (identity_shape,), (seen,) = jax.device_get((*shapes, seen))
  return Maps(
    shape=shape,
    identity_shape=identity_shape,
    depth_mm=np.where(np.isfinite(depth), depth, np.float32(np.nan)),
    normals=normal_map,
    seen=seen,
    facing=np.where(seen, normals[0, :, 2], np.float32(0)),
  )


@jax.jit
def _before_map(
  camera: Camera, crop_from_photo: Float[Array, "B 2 3"]
) -> Camera:
  """Cameras of photos, in the maps' pixels."""
  map_from_crop = jnp.broadcast_to(MAP_FROM_CROP[None], crop_from_photo.shape)
  to_crop = transform_camera(camera, crop_from_photo)
  return transform_camera(to_crop, map_from_crop)


@jax.jit
def _placed(
  shape: Float[Array, "B V 3"], triangles: Int[Array, "F 3"], camera: Camera
) -> tuple[Float[Array, "B V 3"], Float[Array, "B V 3"]]:
  """Vertices as (x pixels, y pixels, depth mm), normals in camera axes."""
  normals = vertex_normals(shape, triangles)
  return screen_points(camera, shape), jnp.einsum(
    "bij,bvj->bvi", camera.rotation, normals
  )


_visibility = jax.jit(vertex_visibility)


def _drawn(
  points: Float[np.ndarray, "V 3"],
  normals: Float[np.ndarray, "V 3"],
  triangles: Int[np.ndarray, "F 3"],
) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W 3"]]:
  """Depth, -inf where nothing is, and unit normals, 0 there.

  On the host, where a single face is drawn faster than by `rendering.render`.
  """
  pixels = draw_triangles(points, triangles, *_MAP_SIZE)
  values = pixels.of(np.concatenate([points[:, 2:], normals], -1), triangles)
  length = np.linalg.norm(values[:, 1:], axis=-1, keepdims=True)
  depth = np.full(_MAP_SIZE, -np.inf, np.float32)
  depth[pixels.covered] = values[:, 0]
  drawn = np.zeros((*_MAP_SIZE, 3), np.float32)
  drawn[pixels.covered] = values[:, 1:] / np.maximum(length, 1e-6)
  return depth, drawn
