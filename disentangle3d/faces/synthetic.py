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
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
import numpy as np

from disentangle3d.faces import appearance, photography
from disentangle3d.faces.head_closure import (
  HeadClosure,
  close_head,
  head_closure,
)
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  flatten_basis,
  landmark_mask,
)
from disentangle3d.faces.rasterizer import map_images
from disentangle3d.faces.rendering import point_visibility, render
from disentangle3d.faces.synthetic_landmarks import (
  align_to_template,
  contour_candidates,
  landmark_vertices,
  nominal_scale,
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
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, check_array

EXPRESSION_CLASSES = 6  # neutral, and five deliberate expressions
ALBEDOS = ("per_person", "per_photo", "constant")
JAWS = ("visible_contour", "fixed_vertices")
YAW_DISTRIBUTIONS = ("mixed", "uniform", "frontal")

# Photos are rendered with a border, so that blur and self-occlusion of
# landmarks beyond the crop (the chin, often) are as in the whole photo.
_MARGIN = 16
# Shapes are made this many at a time, always: so a row's arithmetic does not
# depend on the batch.
_SHAPES_A_TURN = 16
_DETAIL_FIELDS = 64
_TEMPORARY_FIELDS = 32
_DETAIL_WAVELENGTHS_MM = (10.0, 25.0)
_TEMPORARY_WAVELENGTHS_MM = (8.0, 16.0)


@flax.struct.dataclass
class SyntheticWorld:
  """All that photos are made from.

  Attributes:
    model: The morphable model with all modes of the world.
    identity_rows: Flat modes of identity and of person-specific detail,
      `[I + 64, 3V]`, mm a standard deviation.
    residual_rows: The same of expression and of temporary detail,
      `[E + 32, 3V]`.
    expressions: Expression coefficients of each class, `[6, E]`.
    canvas: Where the colours go.
    closure: Hair and neck.
    contour: Candidate vertices of the contour landmarks, `[17, 16]` int32.
    nominal_scale: Scale of the mean face seen from the front, px/mm, `[]`.
    albedo: See `synthetic_world`, as all below.
    jaw: Same.
    photos_per_person: Same.
    landmark_noise_px: Same.
    yaw_distribution: Same.
    max_yaw_deg: Same.
  """

  model: MorphableModel
  identity_rows: Float[Array, "I2 3V"]
  residual_rows: Float[Array, "E2 3V"]
  expressions: Float[Array, "6 E"]
  canvas: appearance.Canvas
  closure: HeadClosure
  contour: Int[Array, "17 16"]
  nominal_scale: Float[Array, ""]
  albedo: str = flax.struct.field(pytree_node=False)
  jaw: str = flax.struct.field(pytree_node=False)
  photos_per_person: int = flax.struct.field(pytree_node=False)
  landmark_noise_px: float = flax.struct.field(pytree_node=False)
  yaw_distribution: str = flax.struct.field(pytree_node=False)
  max_yaw_deg: float = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class SyntheticPhotos:
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
    expression_class: 0 neutral, 1 to 5 deliberate expressions, `[B]` int32.
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


def synthetic_world(
  model: MorphableModel,
  *,
  albedo: str = "per_person",
  jaw: str = "visible_contour",
  photos_per_person: int = 8,
  landmark_noise_px: float = 1.0,
  detail_mm: float = 0.4,
  temporary_detail_mm: float = 0.15,
  yaw_distribution: str = "mixed",
  max_yaw_deg: float = 90.0,
  world_seed: int = 0,
) -> SyntheticWorld:
  """Prepares a world, on the host.

  Args:
    model: The world's 3DMM. Give a fitter its first modes only
      (`truncate_modes`), so that true shapes leave the fitter's span.
    albedo: Where skin, brows, hair and eye colours come from: `per_person`,
      `per_photo` (then only shape tells people apart) or `constant`.
    jaw: `visible_contour` moves the contour landmarks 0 to 16 of the far side
      to the silhouette beyond 15 degrees of yaw, as 2D detectors report them;
      `fixed_vertices` keeps them on their vertices.
    photos_per_person: Photos with consecutive indices that show one person.
    landmark_noise_px: Standard deviation of each landmark coordinate, in
      pixels of a photo whose frontal face has the crop's size.
    detail_mm: Root mean square of the person-specific detail along the
      normals: waves of 10 to 25 mm.
    temporary_detail_mm: The same of each photo's own detail, 8 to 16 mm.
    yaw_distribution: `mixed`, `uniform` or `frontal`; see
      `photography.draw_rotation`.
    max_yaw_deg: Largest yaw, degrees.
    world_seed: Chooses detail fields, skin patterns and expression classes.

  Returns:
    The world.

  Raises:
    ValueError: An option is unknown or out of range, or the model lacks one
      of the landmarks 17 to 67 that alignment and paint need.
  """
  _check_choice("albedo", albedo, ALBEDOS)
  _check_choice("jaw", jaw, JAWS)
  _check_choice("yaw_distribution", yaw_distribution, YAW_DISTRIBUTIONS)
  if photos_per_person < 1:
    raise ValueError(
      f"photos_per_person: expected at least 1, got {photos_per_person}"
    )
  for name, value in (
    ("landmark_noise_px", landmark_noise_px),
    ("detail_mm", detail_mm),
    ("temporary_detail_mm", temporary_detail_mm),
    ("max_yaw_deg", max_yaw_deg),
  ):
    if not value >= 0:
      raise ValueError(f"{name}: expected at least 0, got {value}")
  if np.min(np.asarray(model.landmark_vertices)[17:]) < 0:
    raise ValueError(
      "model.landmark_vertices: expected all of landmarks 17 to 67, got -1"
    )
  detail = _detail_rows(
    model, _DETAIL_FIELDS, _DETAIL_WAVELENGTHS_MM, detail_mm, world_seed
  )
  temporary = _detail_rows(
    model,
    _TEMPORARY_FIELDS,
    _TEMPORARY_WAVELENGTHS_MM,
    temporary_detail_mm,
    world_seed + 1,
  )
  return SyntheticWorld(
    model=jax.tree.map(jnp.asarray, model),
    identity_rows=jnp.concatenate(
      [flatten_basis(jnp.asarray(model.identity_basis)), detail]
    ),
    residual_rows=jnp.concatenate(
      [flatten_basis(jnp.asarray(model.expression_basis)), temporary]
    ),
    expressions=_expression_classes(model.expression_dim, world_seed),
    canvas=appearance.make_canvas(model, seed=world_seed),
    closure=head_closure(model),
    contour=contour_candidates(model),
    nominal_scale=nominal_scale(model),
    albedo=albedo,
    jaw=jaw,
    photos_per_person=photos_per_person,
    landmark_noise_px=landmark_noise_px,
    yaw_distribution=yaw_distribution,
    max_yaw_deg=max_yaw_deg,
  )


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
  root = jax.random.key(seed)
  person = indices // world.photos_per_person
  people = jax.random.split(root)
  person_keys = jax.vmap(jax.random.fold_in, (None, 0))(people[0], person)
  photo_keys = jax.vmap(jax.random.fold_in, (None, 0))(people[1], indices)
  shape, identity_shape, expression_class = _shapes(
    world, person_keys, photo_keys
  )
  keys = jax.vmap(lambda key: jax.random.split(key, 7))(photo_keys)
  camera, landmarks, vertices = _photograph(
    world, shape, pose_keys=keys[:, 2], noise_keys=keys[:, 3]
  )
  image, visibility = _develop(
    world,
    shape,
    camera,
    vertices,
    palette_keys=person_keys if world.albedo == "per_person" else keys[:, 4],
    lens_keys=keys[:, 5],
    scene_keys=keys[:, 6],
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


def _shapes(
  world: SyntheticWorld, person_keys: PRNGKeyArray, photo_keys: PRNGKeyArray
) -> tuple[Array, Array, Array]:
  """Shapes, identity shapes `[B, V, 3]` and expression classes `[B]`."""

  def draw(
    person_key: PRNGKeyArray, photo_key: PRNGKeyArray
  ) -> tuple[Array, Array, Array]:
    identity = jax.random.normal(
      jax.random.fold_in(person_key, 0), world.identity_rows.shape[:1]
    )
    expression_key, temporary_key = jax.random.split(photo_key, 7)[:2]
    expression, number = _draw_expression(expression_key, world.expressions)
    temporary = jax.random.normal(temporary_key, (_TEMPORARY_FIELDS,))
    return (
      jnp.clip(identity, -3, 3),
      jnp.concatenate([expression, temporary]),
      number,
    )

  identity, residual, number = jax.vmap(draw)(person_keys, photo_keys)
  mean = flatten_vertices(world.model.mean_shape)
  identity_part = _combine(identity, world.identity_rows)
  residual_part = _combine(residual, world.residual_rows)
  identity_shape = mean[None] + identity_part
  return (
    unflatten_vertices(identity_shape + residual_part),
    unflatten_vertices(identity_shape),
    number,
  )


def _combine(coefficients: Array, rows: Array) -> Array:
  """`coefficients @ rows`, in matrices of one fixed height."""
  count = coefficients.shape[0]
  padded = jnp.pad(coefficients, ((0, -count % _SHAPES_A_TURN), (0, 0)))
  blocks = padded.reshape(-1, _SHAPES_A_TURN, padded.shape[-1])
  combined = jax.lax.map(lambda block: block @ rows, blocks)
  return combined.reshape(-1, rows.shape[-1])[:count]


def _draw_expression(
  key: PRNGKeyArray, expressions: Array
) -> tuple[Array, Array]:
  """Expression coefficients `[E]` and the class they belong to."""
  uniform_key, normal_key = jax.random.split(key)
  uniform = jax.random.uniform(uniform_key, (2,))
  number = jnp.floor(EXPRESSION_CLASSES * uniform[0]).astype(jnp.int32)
  intensity = 0.5 + 0.8 * uniform[1]
  wander = jnp.where(number == 0, 0.25, 0.4)
  random = wander * jax.random.normal(normal_key, expressions.shape[1:])
  return intensity * expressions[number] + random, number


def _photograph(
  world: SyntheticWorld,
  shape: Array,
  *,
  pose_keys: PRNGKeyArray,
  noise_keys: PRNGKeyArray,
) -> tuple[Camera, Array, Array]:
  """True cameras, noisy landmarks and their vertices `[B, 68]`, in the crop.

  The landmarks are found on the photo, at the nominal scale, and their five
  points decide the crop, as with a real photo.
  """
  batch = shape.shape[0]
  rotation = jax.vmap(
    lambda key: photography.draw_rotation(
      key,
      yaw_distribution=world.yaw_distribution,
      max_yaw_deg=world.max_yaw_deg,
    )
  )(pose_keys)
  photo = Camera(
    scale=jnp.broadcast_to(world.nominal_scale, (batch,)),
    rotation=rotation,
    translation=jnp.zeros((batch, 2)),
  )
  vertices = landmark_vertices(
    world.model,
    world.contour if world.jaw == "visible_contour" else None,
    shape,
    rotation,
  )
  points = jnp.take_along_axis(shape, vertices[..., None], 1)
  noise = jax.vmap(lambda key: jax.random.normal(key, (68, 2)))(noise_keys)
  found = project(photo, points) + world.landmark_noise_px * noise
  crop_from_photo = align_to_template(found)
  return (
    transform_camera(photo, crop_from_photo),
    apply_affine(crop_from_photo, found),
    vertices,
  )


def _develop(
  world: SyntheticWorld,
  shape: Array,
  camera: Camera,
  vertices: Array,
  *,
  palette_keys: PRNGKeyArray,
  lens_keys: PRNGKeyArray,
  scene_keys: PRNGKeyArray,
) -> tuple[Array, Array]:
  """Crops `[B, 112, 96, 3]` uint8 and visibility `[B, 68]`."""
  height, width = IMAGE_HEIGHT + 2 * _MARGIN, IMAGE_WIDTH + 2 * _MARGIN
  palette = jax.vmap(_palette, (None, 0))(world.albedo, palette_keys)
  hair = world.closure.hair.reshape(-1)
  lens = jax.vmap(photography.draw_lens)(lens_keys)
  scene = jax.vmap(jax.random.split)(scene_keys)
  background = map_images(
    lambda key: photography.draw_background(key, height=height, width=width),
    scene[:, 0],
  )
  wider = camera.replace(translation=camera.translation + float(_MARGIN))
  seen = render(
    close_head(world.closure, shape, palette.hair_mm),
    world.closure.triangles,
    wider,
    height=height,
    width=width,
    colors=map_images(
      lambda one: appearance.paint(world.canvas, one, hair), palette
    ),
    lighting=lens.lighting,
    background=background,
    # With hair and neck the head is closed where a photo looks.
    cull_back_faces=True,
  )
  image = map_images(
    lambda key, linear, one: photography.expose(
      key, linear, one, margin=_MARGIN
    ),
    scene[:, 1],
    seen.image,
    lens,
  )
  points = jnp.take_along_axis(shape, vertices[..., None], 1)
  visible = point_visibility(seen, points, None, wider, tolerance_mm=5.0)
  return image, visible * landmark_mask(world.model)[None]


def _palette(albedo: str, key: PRNGKeyArray) -> appearance.Palette:
  if albedo == "constant":
    return appearance.constant_palette()
  return appearance.draw_palette(jax.random.fold_in(key, 1))


def _detail_rows(
  model: MorphableModel,
  count: int,
  wavelengths_mm: tuple[float, float],
  deviation_mm: float,
  seed: int,
) -> Array:
  """Displacements along the mean's normals, `[count, 3V]`, all together rms."""
  mean = np.asarray(model.mean_shape, np.float64)
  wavelengths = np.geomspace(*wavelengths_mm, count)
  fields = appearance.smooth_fields(mean, wavelengths, seed=seed)
  # The same slope at every wavelength.
  fields = fields * (wavelengths / np.sqrt(np.mean(wavelengths**2)))[:, None]
  normals = _mean_normals(model)
  rows = fields[..., None] * normals[None] * (deviation_mm / np.sqrt(count))
  return flatten_vertices(jnp.asarray(rows, jnp.float32))


def _mean_normals(model: MorphableModel) -> np.ndarray:
  corners = np.asarray(model.mean_shape)[np.asarray(model.triangles)]
  weighted = np.cross(
    corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
  )
  normals = np.zeros((model.num_vertices, 3))
  for corner in range(3):
    np.add.at(normals, np.asarray(model.triangles)[:, corner], weighted)
  length = np.linalg.norm(normals, axis=1, keepdims=True)
  return normals / np.maximum(length, 1e-12)


def _expression_classes(expression_dim: int, seed: int) -> Array:
  """Sparse directions, `[6, E]`: one leading mode each and two weaker."""
  rng = np.random.default_rng(seed)
  directions = np.zeros((EXPRESSION_CLASSES, expression_dim))
  modes = min(expression_dim, 12)
  for number in range(1, EXPRESSION_CLASSES):
    others = rng.choice(modes, size=min(2, modes), replace=False)
    directions[number, others] = rng.uniform(-0.7, 0.7, len(others))
    directions[number, (number - 1) % modes] = 1.7
  return jnp.asarray(directions, jnp.float32)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
  if value not in choices:
    raise ValueError(
      f"{name}: expected one of {', '.join(choices)}, got {value!r}"
    )
