"""Photos that a locator of landmarks learns from: any pose, every point known.

As `synthetic.render_photos`, of the same worlds and as pure a function of
(world, seed, index); but the crop is square and around the box of the true
points, whatever the pose, and the truth is where all 68 points are, seen or
not, the jaw both on the mesh and along the silhouette.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from disentangle3d.faces.occluders import FRINGE_DRAWS, more_glasses
from disentangle3d.faces.synthetic import (
  SyntheticWorld,
  draw_numbers,
  face_shapes,
  made_expressions,
  photo_smiles,
)
from disentangle3d.faces.synthetic_landmarks import (
  marked_points,
  photo_landmark_vertices,
)
from disentangle3d.faces.synthetic_pictures import Frame, develop
from disentangle3d.geometry import (
  Camera,
  euler_from_rotation,
  project,
  rotation_from_euler,
)
from disentangle3d.types import NUM_CONTOUR, check_array

# Side of a photo, and of the box of its 68 points (the root of its area).
PHOTO_PX, FACE_PX = 112, 64.0
_FRAME = Frame(PHOTO_PX, PHOTO_PX, 8)
# Degrees: largest turns, and the deviation of those that are normal.
_MAX_YAW, _MAX_PITCH, _PITCH, _ROLL = 95.0, 60.0, 17.0, 10.0
# Faces vary more than any one model's: wider modes, and stretched axes.
_WIDER_IDENTITY, _STRETCH = 1.2, 0.05
_STRONGEST_EXPRESSION = 1.2
# Standard deviations by which more faces wear glasses.
_MORE_GLASSES = 0.75
# Of keys: nothing here is drawn as in `render_photos`.
_PURPOSE, _FRINGE = 16, 17


class LandmarkPhotos(flax.struct.PyTreeNode):
  """Photos and the truth about their points.

  Attributes:
    image: RGB, `[B, 112, 112, 3]`.
    head: 255 on the head, 0 on what is behind it, `[B, 112, 112]`.
    points: The 68 points, pixels and depth in pixels, greater is nearer to
      the viewer and 0 their mean, `[B, 68, 3]`; the jaw is the mesh's.
    silhouette: The jaw as 2D detectors mark it, `[B, 17, 2]`.
    visibility: 1 where the head does not hide a point, `[B, 68]`.
    yaw_rad: `[B]`.
  """

  image: UInt8[Array | np.ndarray, "B 112 112 3"]
  head: UInt8[Array | np.ndarray, "B 112 112"]
  points: Float[Array | np.ndarray, "B 68 3"]
  silhouette: Float[Array | np.ndarray, "B 17 2"]
  visibility: Float[Array | np.ndarray, "B 68"]
  yaw_rad: Float[Array | np.ndarray, "B"]


def render_landmark_photos(
  world: SyntheticWorld, seed: int | Array, indices: Int[Array, "B"]
) -> LandmarkPhotos:
  """Renders photos; jit it with the world as an argument.

  Args:
    world: Its yaw distribution, sweep and noise are not used; its detector
      says where on the model the 68 points are.
    seed: Everything random comes from it and the indices.
    indices: Numbers of the photos, `[B]`, not negative.

  Returns:
    `LandmarkPhotos`.

  Raises:
    ValueError: `indices` is not one-dimensional.
    TypeError: `indices` is not of an integer dtype.
  """
  check_array("indices", indices, "B", dtype="integer")
  person = indices // world.photos_per_person
  by_person, by_photo, sensor_keys = draw_numbers(world, seed, person, indices)
  wild = _uniform(seed, indices, _PURPOSE, 8)
  if world.wardrobe is not None:
    by_photo |= {
      "worn": more_glasses(by_photo["worn"], _MORE_GLASSES),
      "fringe": jax.scipy.stats.norm.ppf(
        _uniform(seed, indices, _FRINGE, FRINGE_DRAWS)
      ),
    }
  shape = _shapes(world, by_person, by_photo, wild)
  rotation = _rotations(wild)
  camera, points, silhouette, vertices = _photograph(world, shape, rotation)
  image, visibility, head = develop(
    world,
    shape,
    camera,
    vertices,
    by_person=by_person,
    by_photo=by_photo,
    sensor_keys=sensor_keys,
    frame=_FRAME,
  )
  flat = project(camera, points)
  depth = jnp.einsum("bj,bpj->bp", rotation[:, 2], points)
  depth = depth - jnp.mean(depth, -1, keepdims=True)
  depth = jnp.asarray(camera.scale)[:, None] * depth
  return LandmarkPhotos(
    image=image,
    head=jnp.where(head, 255, 0).astype(jnp.uint8),
    points=jnp.concatenate([flat, depth[..., None]], -1),
    silhouette=project(camera, silhouette),
    visibility=visibility.astype(jnp.float32),
    yaw_rad=euler_from_rotation(rotation)[0],
  )


def _uniform(
  seed: int | Array, indices: Array, purpose: int, count: int
) -> Float[Array, "B N"]:
  """Numbers of each photo beside the world's own draws."""
  root = jax.random.fold_in(jax.random.key(seed), purpose)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(root, indices)
  return jax.vmap(lambda key: jax.random.uniform(key, (count,), jnp.float32))(
    keys
  )


def _shapes(
  world: SyntheticWorld,
  by_person: dict[str, Array],
  by_photo: dict[str, Array],
  wild: Array,
) -> Float[Array, "B V 3"]:
  """Faces of wider variety than `render_photos` shows."""
  identity = jnp.clip(_WIDER_IDENTITY * by_person["identity"], -3, 3)
  strength = _STRONGEST_EXPRESSION * wild[:, :1]
  made = made_expressions(world.model, by_photo["expression"][:, 2:])
  expression = strength * made
  if world.wardrobe is not None:
    expression += photo_smiles(world.wardrobe, by_photo["smile"])
  shape, _ = face_shapes(
    world,
    jnp.concatenate([identity, by_person["detail"]], -1),
    jnp.concatenate([expression, by_photo["temporary"]], -1),
  )
  stretch = jnp.exp(_STRETCH * jnp.clip(by_photo["pose"][:, 2:5], -2, 2))
  return shape * stretch[:, None]


def _rotations(wild: Array) -> Float[Array, "B 3 3"]:
  """Yaw even over all that is seen of a face; the rest mostly upright."""
  yaw = _MAX_YAW * (2 * wild[:, 1] - 1)
  normal = jax.scipy.stats.norm.ppf(0.001 + 0.998 * wild[:, 2:4])
  wide = wild[:, 4] < 0.15
  pitch = jnp.where(
    wide, _MAX_PITCH * (2 * wild[:, 5] - 1), _PITCH * normal[:, 0]
  )
  pitch = jnp.clip(pitch, -_MAX_PITCH, _MAX_PITCH)
  roll = _ROLL * normal[:, 1]
  return rotation_from_euler(*map(jnp.deg2rad, (yaw, pitch, roll)))


def _photograph(
  world: SyntheticWorld, shape: Array, rotation: Array
) -> tuple[Camera, Array, Array, Array]:
  """Cameras around the points' box; points, silhouette, vertices of points."""
  fixed = photo_landmark_vertices(world.model, None, shape, rotation)
  points = marked_points(world.model, fixed, shape)
  slid = photo_landmark_vertices(world.model, world.contour, shape, rotation)
  silhouette = marked_points(world.model, slid, shape)[:, :NUM_CONTOUR]
  batch = shape.shape[0]
  unit = Camera(
    scale=jnp.ones((batch,), jnp.float32),
    rotation=rotation,
    translation=jnp.zeros((batch, 2), jnp.float32),
  )
  flat = project(unit, points)
  low, high = jnp.min(flat, 1), jnp.max(flat, 1)
  scale = FACE_PX / jnp.sqrt(jnp.prod(high - low, -1))
  middle = (PHOTO_PX - 1) / 2
  camera = Camera(
    scale=scale,
    rotation=rotation,
    translation=middle - scale[:, None] * (low + high) / 2,
  )
  return camera, points, silhouette, fixed
