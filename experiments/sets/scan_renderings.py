"""Crops of a scan turned to given yaws, as the paper renders BU-3DFE's.

The crop is cut as the synthetic world's is: the five points are projected
through the head, so both eyes coincide in profile.
"""

from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, UInt8
import numpy as np
import scipy

from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.faces.rendering import Rendering, point_visibility, render
from disentangle3d.faces.synthetic_landmarks import align_to_template
from disentangle3d.geometry import (
  Camera,
  project,
  rotation_from_euler,
  similarity_2d,
  transform_camera,
)
from disentangle3d.types import (
  CROP_TEMPLATE,
  IMAGE_HEIGHT,
  IMAGE_WIDTH,
  NOSE_TIP,
  UserError,
)

# A scan's sizes are rounded up to these, so that few programs are compiled.
_VERTICES, _TRIANGLES = 8192, 16384
_SKIN = (0.80, 0.62, 0.53)
_BACKGROUND = 0.35
_BLUR_PX = 1.0
_EYES = slice(36, 42), slice(42, 48)
_MOUTH = [48, 54]


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoTexture:
  """A photo that shows a scan's surface.

  Attributes:
    image: RGB, `[H, W, 3]` uint8.
    pixels: Where each vertex is in it, `[V, 2]`.
  """

  image: UInt8[np.ndarray, "H W 3"]
  pixels: Float[np.ndarray, "V 2"]


@dataclasses.dataclass(frozen=True, eq=False)
class ScanCrops:
  """N crops of one scan.

  Attributes:
    images: `[N, 112, 96, 3]` uint8.
    landmarks: Of the scan, crop pixels, `[N, 68, 2]`; 0 where it has none.
    visibility: `[N, 68]`; 0 where hidden or not there.
    camera: Batch dimensions `[N]`.
  """

  images: UInt8[np.ndarray, "N 112 96 3"]
  landmarks: Float[np.ndarray, "N 68 2"]
  visibility: Float[np.ndarray, "N 68"]
  camera: Camera


def _crop_cameras(
  landmarks: Float[np.ndarray, "68 3"], yaw_deg: Sequence[float]
) -> Camera:
  """Cameras of the crops of a face turned to some yaws.

  Args:
    landmarks: `[68, 3]`, mm, NaN where there is none; eyes, nose tip and
      mouth corners must be there.
    yaw_deg: N angles.

  Returns:
    N cameras, crop pixels.

  Raises:
    UserError: One of the five points is missing.
  """
  points = _five_points(landmarks)
  if not np.isfinite(points).all():
    raise UserError(
      "landmarks: expected eyes, nose tip and mouth corners, to cut a crop by"
    )
  frontal = similarity_2d(
    jnp.asarray(points[:, :2] * [1, -1], jnp.float32),
    jnp.asarray(CROP_TEMPLATE),
  )
  count = len(yaw_deg)
  yaw = jnp.radians(jnp.asarray(yaw_deg, jnp.float32))
  camera = Camera(
    scale=jnp.broadcast_to(jnp.hypot(frontal[0, 0], frontal[1, 0]), (count,)),
    rotation=rotation_from_euler(yaw, jnp.zeros_like(yaw), jnp.zeros_like(yaw)),
    translation=jnp.zeros((count, 2), jnp.float32),
  )
  shown = project(
    camera,
    jnp.broadcast_to(jnp.asarray(points, jnp.float32)[None], (count, 5, 3)),
  )
  marks = jnp.zeros((count, 68, 2), jnp.float32)
  for eye, place in zip(_EYES, (0, 1), strict=True):
    marks = marks.at[:, eye].set(shown[:, place : place + 1])
  marks = marks.at[:, NOSE_TIP].set(shown[:, 2])
  marks = marks.at[:, jnp.asarray(_MOUTH)].set(shown[:, 3:])
  return transform_camera(camera, align_to_template(marks, SPHEREFACE))


def render_scan(
  vertices: Float[np.ndarray, "V 3"],
  triangles: Int[np.ndarray, "F 3"],
  landmarks: Float[np.ndarray, "68 3"],
  yaw_deg: Sequence[float],
  *,
  colors: UInt8[np.ndarray, "V 3"] | None = None,
  texture: PhotoTexture | None = None,
) -> ScanCrops:
  """Renders a scan, one crop a yaw.

  Args:
    vertices: `[V, 3]`, mm, facing the viewer.
    triangles: `[F, 3]`.
    landmarks: `[68, 3]`, mm, NaN where there is none.
    yaw_deg: N angles, positive to the image's right.
    colors: `[V, 3]`, from the scan's texture; None shades a skin colour.
    texture: In place of colours; shown as it is, without shading.

  Raises:
    UserError: A landmark that the crop needs is missing.
  """
  camera = _crop_cameras(landmarks, yaw_deg)
  skin = np.asarray(_SKIN, np.float32)
  albedo: np.ndarray = np.broadcast_to(skin, vertices.shape)
  if colors is not None:
    albedo = colors.astype(np.float32) / 255
  known = np.isfinite(landmarks).all(1)
  points = np.where(known[:, None], landmarks, 0).astype(np.float32)
  drawn, marks, seen = _draw(
    _pad(vertices, _VERTICES),
    # A triangle of one vertex covers nothing.
    _pad(triangles, _TRIANGLES),
    _pad(albedo, _VERTICES),
    jnp.asarray(points),
    camera,
  )
  if texture is None:
    images = np.round(255 * np.asarray(drawn.image)).astype(np.uint8)
  else:
    images = _textured(drawn, _pad(triangles, _TRIANGLES), texture)
  return ScanCrops(
    images=images,
    landmarks=np.where(known[:, None], np.asarray(marks), 0),
    visibility=np.where(known, np.asarray(seen), 0).astype(np.float32),
    camera=camera,
  )


@jax.jit
def _draw(
  vertices: jax.Array,
  triangles: jax.Array,
  albedo: jax.Array,
  points: jax.Array,
  camera: Camera,
) -> tuple[Rendering, jax.Array, jax.Array]:
  count = camera.scale.shape[0]

  def repeat(array: jax.Array) -> jax.Array:
    return jnp.broadcast_to(array[None], (count, *array.shape))

  drawn = render(
    repeat(vertices),
    triangles,
    camera,
    height=IMAGE_HEIGHT,
    width=IMAGE_WIDTH,
    colors=repeat(albedo),
    background=jnp.full(
      (count, IMAGE_HEIGHT, IMAGE_WIDTH, 3), _BACKGROUND, jnp.float32
    ),
  )
  seen = point_visibility(drawn.depth, repeat(points), None, camera)
  return drawn, project(camera, repeat(points)), seen


def _textured(
  drawn: Rendering, triangles: jax.Array, texture: PhotoTexture
) -> UInt8[np.ndarray, "N 112 96 3"]:
  """What the photo shows where each pixel's surface is in it."""
  index = np.asarray(drawn.triangle_index)
  corners = np.asarray(triangles)[np.maximum(index, 0)]
  places = np.einsum(
    "nhwk,nhwki->nhwi", np.asarray(drawn.barycentrics), texture.pixels[corners]
  )
  # A crop's pixel is some of the photo's, which without a blur would flicker.
  coarse = scipy.ndimage.gaussian_filter(
    texture.image.astype(np.float32), (_BLUR_PX, _BLUR_PX, 0)
  )
  shown = np.stack(
    [
      scipy.ndimage.map_coordinates(
        coarse[..., channel], [places[..., 1], places[..., 0]], order=1
      )
      for channel in range(3)
    ],
    -1,
  )
  shown = np.where(index[..., None] >= 0, shown, 255 * _BACKGROUND)
  return np.round(shown).clip(0, 255).astype(np.uint8)


def _five_points(landmarks: np.ndarray) -> Float[np.ndarray, "5 3"]:
  """Means of the known points of each eye, nose tip, mouth corners."""
  eyes = []
  for eye in _EYES:
    known = landmarks[eye][np.isfinite(landmarks[eye]).all(1)]
    eyes.append(known.mean(0) if len(known) else np.full(3, np.nan))
  return np.stack([*eyes, landmarks[NOSE_TIP], *landmarks[_MOUTH]])


def _pad(rows: np.ndarray, step: int) -> jax.Array:
  size = -(-len(rows) // step) * step
  filled = np.zeros((size, rows.shape[1]), rows.dtype)
  filled[: len(rows)] = rows
  return jnp.asarray(filled)
