"""The synthetic world: photographs of people who never were.

A world holds a morphable model with more modes than any fitter is given, a
bank of fine surface detail outside every linear model, and paint. A photo is
a pure function of (world, seed, index): the same row whatever the batch. The
person is `index // photos_per_person`; shape and (by choice) skin come from
the person's key; expression, pose, light, background, lens and landmark noise
from the photo's key, which never contains the person.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int, UInt8

from disentangle3d.faces import (
  appearance,
  occluders,
  photography,
  snapshots,
  wardrobe,
)
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.synthetic_landmarks import (
  align_to_template,
  landmark_noise,
  marked_points,
  photo_landmark_vertices,
)
from disentangle3d.faces.synthetic_pictures import develop
from disentangle3d.faces.synthetic_world import (
  DETAIL_FIELDS,
  EXPRESSION_CLASSES,
  TEMPORARY_FIELDS,
  SyntheticWorld,
  synthetic_world,
)
from disentangle3d.geometry import (
  Camera,
  apply_affine,
  euler_from_rotation,
  flatten_vertices,
  project,
  transform_camera,
  unflatten_vertices,
)
from disentangle3d.types import check_array

__all__ = [
  "EXPRESSION_CLASSES",
  "SyntheticPhotos",
  "SyntheticWorld",
  "render_photos",
  "synthetic_world",
  "true_coefficients",
]

_PERSON_SNAPSHOT_DRAWS = {
  "dress": wardrobe.SKIN_DRAWS,
  "fall": occluders.HAIR_DRAWS,
}
_PHOTO_SNAPSHOT_DRAWS = _PERSON_SNAPSHOT_DRAWS | {
  "shot": snapshots.SHOT_DRAWS,
  "worn": occluders.OCCLUDER_DRAWS,
  "backdrop": snapshots.BACKDROP_DRAWS,
  "smile": 3,
}
# Shapes are made this many at a time, always: so a row's arithmetic does not
# depend on the batch.
_SHAPES_A_TURN = 16
# Of snapshots: fits to their landmarks then spread over the expression modes as
# fits to photographs of people do, docs/data.md.
_STRONGEST_PASSING = 1.2
_SMILING = 0.8


class SyntheticPhotos(flax.struct.PyTreeNode):
  """Aligned crops and the truth about them.

  Attributes:
    image: Crops, RGB, `[B, 112, 96, 3]` uint8.
    landmarks: Noisy iBUG landmarks, crop pixels, `[B, 68, 2]`.
    visibility: 1 where a landmark is seen, 0 where the face hides it,
      `[B, 68]`; a landmark outside the crop may well be seen in the photo.
    camera: The true camera into the crop, batch dimensions `[B]`.
    shape: Everything in the photo, `[B, V, 3]`, mm.
    identity_shape: The same person neutral, detail included, `[B, V, 3]`.
    person: `[B]` int32.
    yaw_rad: True yaw, `[B]`.
    expression_class: 0 neutral, 1 to 5 deliberate expressions, `[B]` int32; of
      snapshots, where people do as they like, 0 unless they are swept.
  """

  image: UInt8[Array, "B 112 96 3"]
  landmarks: Float[Array, "B 68 2"]
  visibility: Float[Array, "B 68"]
  camera: Camera
  shape: Float[Array, "B V 3"]
  identity_shape: Float[Array, "B V 3"]
  person: Int[Array, "B"]
  yaw_rad: Float[Array, "B"]
  expression_class: Int[Array, "B"]


def render_photos(
  world: SyntheticWorld, seed: int | Array, indices: Int[Array, "B"]
) -> SyntheticPhotos:
  """Renders photos; jit it with the world as an argument, not a closure.

  Args:
    world: From `synthetic_world`.
    seed: Everything random comes from it and the indices.
    indices: Numbers of the photos, `[B]`, not negative.

  Returns:
    `SyntheticPhotos`.

  Raises:
    ValueError: `indices` is not one-dimensional.
    TypeError: `indices` is not of an integer dtype.
  """
  check_array("indices", indices, "B", dtype="integer")
  person = indices // world.photos_per_person
  by_person, by_photo, sensor_keys = draw_numbers(world, seed, person, indices)
  place = indices % world.photos_per_person
  identity, residual, expression_class = _coefficients(
    world, by_person, by_photo, place
  )
  shape, identity_shape = face_shapes(world, identity, residual)
  camera, landmarks, vertices = _photograph(world, shape, by_photo, place)
  image, visibility, _ = develop(
    world,
    shape,
    camera,
    vertices,
    by_person=by_person,
    by_photo=by_photo,
    sensor_keys=sensor_keys,
  )
  return SyntheticPhotos(
    image=image,
    landmarks=landmarks,
    visibility=visibility,
    camera=camera,
    shape=shape,
    identity_shape=identity_shape,
    person=person.astype(jnp.int32),
    yaw_rad=euler_from_rotation(camera.rotation)[0],
    expression_class=expression_class,
  )


def true_coefficients(
  world: SyntheticWorld, seed: int | Array, indices: Int[Array, "B"]
) -> tuple[Float[Array, "B I2"], Float[Array, "B E2"]]:
  """What the true shapes of photos are made of, without rendering them.

  Args:
    world: From `synthetic_world`.
    seed: As for `render_photos`.
    indices: As for `render_photos`.

  Returns:
    Weights of `world.identity_rows` (the model's modes, then person-specific
    detail) and of `world.residual_rows` (its expressions, then temporary
    detail), standard deviations.

  Raises:
    ValueError: `indices` is not one-dimensional.
    TypeError: `indices` is not of an integer dtype.
  """
  check_array("indices", indices, "B", dtype="integer")
  person, place = jnp.divmod(indices, world.photos_per_person)
  by_person, by_photo, _ = draw_numbers(world, seed, person, indices)
  identity, residual, _ = _coefficients(world, by_person, by_photo, place)
  return identity, residual


def draw_numbers(
  world: SyntheticWorld, seed: int | Array, person: Array, indices: Array
) -> tuple[dict[str, Array], dict[str, Array], Array]:
  """Normal numbers `[B, ...]` of person and of photo; sensor-noise keys.

  One draw each. The model's coefficients come last: the rest of a photo does
  not depend on how many there are.
  """
  roots = jax.random.split(jax.random.key(seed), 3)
  fold = jax.vmap(jax.random.fold_in, (None, 0))
  by_person = _named_draws(
    fold(roots[0], person),
    palette=appearance.PALETTE_DRAWS,
    detail=DETAIL_FIELDS,
    identity=world.model.identity_dim,
  )
  by_photo = _named_draws(
    fold(roots[1], indices),
    palette=appearance.PALETTE_DRAWS,
    pose=photography.ROTATION_DRAWS,
    lens=photography.LENS_DRAWS,
    background=photography.BACKGROUND_DRAWS,
    noise=68 * 2,
    temporary=TEMPORARY_FIELDS,
    expression=2 + world.model.expression_dim,
  )
  if world.wardrobe is not None:
    # Keys of their own: all else about a photo is as without skins.
    again = jax.vmap(jax.random.fold_in, (0, None))
    by_person |= _named_draws(
      again(fold(roots[0], person), 1), **_PERSON_SNAPSHOT_DRAWS
    )
    by_photo |= _named_draws(
      again(fold(roots[1], indices), 1), **_PHOTO_SNAPSHOT_DRAWS
    )
  return by_person, by_photo, fold(roots[2], indices)


def _named_draws(keys: Array, **sizes: int) -> dict[str, Array]:
  total = sum(sizes.values())
  drawn = jax.vmap(lambda key: jax.random.normal(key, (total,), jnp.float32))(
    keys
  )
  named, first = {}, 0
  for name, size in sizes.items():
    named[name] = drawn[:, first : first + size]
    first += size
  return named


def _coefficients(
  world: SyntheticWorld,
  by_person: dict[str, Array],
  by_photo: dict[str, Array],
  place: Array,
) -> tuple[Array, Array, Array]:
  """What rows are combined with, `[B, I2]` and `[B, E2]`; classes `[B]`."""
  # Basis rows come first in both matrices, detail after them.
  identity = jnp.clip(by_person["identity"], -3, 3)
  if world.wardrobe is not None and world.sweep == "none":
    expression = _passing(world.model, world.wardrobe, by_photo)
    number = jnp.zeros_like(place, jnp.int32)
  else:
    expression, number = _expressions(world, by_photo["expression"], place)
  return (
    jnp.concatenate([identity, by_person["detail"]], -1),
    jnp.concatenate([expression, by_photo["temporary"]], -1),
    number,
  )


def face_shapes(
  world: SyntheticWorld, identity: Array, residual: Array
) -> tuple[Array, Array]:
  """Shapes and identity shapes `[B, V, 3]`."""
  mean = flatten_vertices(jnp.asarray(world.model.mean_shape))
  identity_shape = mean[None] + _combine(identity, world.identity_rows)
  shape = identity_shape + _combine(residual, world.residual_rows)
  return unflatten_vertices(shape), unflatten_vertices(identity_shape)


def _combine(coefficients: Array, rows: Array) -> Array:
  """`coefficients @ rows`, in matrices of one fixed height."""
  count = coefficients.shape[0]
  padded = jnp.pad(coefficients, ((0, -count % _SHAPES_A_TURN), (0, 0)))
  blocks = padded.reshape(-1, _SHAPES_A_TURN, padded.shape[-1])
  combined = jax.lax.map(lambda block: block @ rows, blocks)
  return combined.reshape(-1, rows.shape[-1])[:count]


def _expressions(
  world: SyntheticWorld, normal: Array, place: Array
) -> tuple[Array, Array]:
  """Expression coefficients `[B, E]` and the classes they belong to."""
  uniform = norm.cdf(normal[:, :2])
  number = jnp.floor(EXPRESSION_CLASSES * uniform[:, 0]).astype(jnp.int32)
  number = jnp.minimum(number, EXPRESSION_CLASSES - 1)
  if world.sweep == "expression":
    number = (place % EXPRESSION_CLASSES).astype(jnp.int32)
  elif world.sweep == "yaw":
    number = jnp.zeros_like(number)
  intensity = 0.5 + 0.8 * uniform[:, 1:]
  wander = jnp.where(number == 0, 0.25, 0.4)[:, None]
  passing = made_expressions(world.model, normal[:, 2:])
  return intensity * world.expressions[number] + wander * passing, number


def _passing(
  model: MorphableModel, worn: wardrobe.Wardrobe, by_photo: dict[str, Array]
) -> Array:
  """What people do on snapshots: anything, more or less, and smile."""
  normal = by_photo["expression"]
  degree = _STRONGEST_PASSING * norm.cdf(normal[:, 1:2])
  made = made_expressions(model, normal[:, 2:])
  return degree * made + photo_smiles(worn, by_photo["smile"])


def made_expressions(
  model: MorphableModel, normal: Float[Array, "B E"]
) -> Float[Array, "B E"]:
  """Expression coefficients of unit size: those that blendshapes make.

  A normal draw of modes that are made of blendshapes has negative weights, by
  which lips pass through one another.

  Args:
    model: With samples, one of which each draw chooses; without, the draw
      itself is returned.
    normal: Standard normal numbers.
  """
  samples = model.expression_samples
  if samples is None:
    return normal
  last = samples.shape[0] - 1
  chosen = jnp.floor(samples.shape[0] * norm.cdf(normal[:, 0]))
  return jnp.asarray(samples)[jnp.minimum(chosen.astype(jnp.int32), last)]


def photo_smiles(worn: wardrobe.Wardrobe, normal: Array) -> Array:
  """What most of the photos' faces do besides, `[B, E]`."""
  uniform = norm.cdf(normal)
  count = worn.smiles.shape[0]
  which = jnp.floor(uniform[:, 0] * count).astype(jnp.int32)
  strength = jnp.where(uniform[:, 1] < _SMILING, 0.4 + 1.4 * uniform[:, 2], 0.0)
  return strength[:, None] * worn.smiles[jnp.minimum(which, count - 1)]


def _photograph(
  world: SyntheticWorld, shape: Array, by_photo: dict[str, Array], place: Array
) -> tuple[Camera, Array, Array]:
  """True cameras, noisy landmarks and their vertices `[B, 68]`, in the crop.

  The landmarks are found on the photo, at the nominal scale, and their five
  points decide the crop, as with a real photo.
  """
  batch = shape.shape[0]
  rotation = jax.vmap(
    lambda normal: photography.head_rotation(
      normal,
      yaw_distribution=world.yaw_distribution,
      max_yaw_deg=world.max_yaw_deg,
    )
  )(by_photo["pose"])
  if world.sweep == "yaw":
    rotation = photography.swept_rotation(
      place, world.photos_per_person, max_yaw_deg=world.max_yaw_deg
    )
  photo = Camera(
    scale=jnp.broadcast_to(world.nominal_scale, (batch,)),
    rotation=rotation,
    translation=jnp.zeros((batch, 2), jnp.float32),
  )
  vertices = photo_landmark_vertices(
    world.model,
    world.contour if world.jaw == "visible_contour" else None,
    shape,
    rotation,
  )
  points = marked_points(world.model, vertices, shape)
  noise = by_photo["noise"].reshape(batch, 68, 2)
  calibration = world.model.landmark_calibration
  if calibration is not None and calibration.num_yaw_ranges:
    noise = landmark_noise(calibration, noise, rotation)
    found = project(photo, points) + world.nominal_scale * noise
  else:
    found = project(photo, points) + world.landmark_noise_px * noise
  crop_from_photo = align_to_template(found, world.template)
  return (
    transform_camera(photo, crop_from_photo),
    apply_affine(crop_from_photo, found),
    vertices,
  )
