"""What a synthetic world is made of, and how one is prepared."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.crop_templates import SPHEREFACE, TEMPLATES, WHOLE_FACE
from disentangle3d.faces import appearance
from disentangle3d.faces.head_closure import HeadClosure, head_closure
from disentangle3d.faces.landmark_calibration import (
  LandmarkCalibration,
  validate_landmark_calibration,
)
from disentangle3d.faces.morphable_model import MorphableModel, flatten_basis
from disentangle3d.faces.skins import Skins
from disentangle3d.faces.synthetic_landmarks import (
  contour_candidates,
  nominal_scale,
)
from disentangle3d.faces.wardrobe import Wardrobe, make_wardrobe
from disentangle3d.geometry import flatten_vertices
from disentangle3d.types import NUM_CONTOUR, UserError, check_choice

EXPRESSION_CLASSES = 6  # neutral, and five deliberate expressions
ALBEDOS = ("per_person", "per_photo", "constant")
JAWS = ("visible_contour", "fixed_vertices")
YAW_DISTRIBUTIONS = ("mixed", "uniform", "frontal")
_SWEEPS = ("none", "yaw", "expression")

DETAIL_FIELDS = 64
TEMPORARY_FIELDS = 32
# Of painted faces; real skins bring wrinkles of their own, and hard light would
# make of so much a crumpled one.
_DETAIL_MM, _SKIN_DETAIL_MM = (0.4, 0.15), (0.15, 0.06)
_DETAIL_WAVELENGTHS_MM = (10.0, 25.0)
_TEMPORARY_WAVELENGTHS_MM = (8.0, 16.0)


class SyntheticWorld(flax.struct.PyTreeNode):
  """All that photos are made from.

  Attributes:
    model: The morphable model with all modes of the world; its landmark
      calibration is the detector's.
    identity_rows: Flat modes of identity and of person-specific detail,
      `[I + 64, 3V]`, mm a standard deviation.
    residual_rows: The same of expression and of temporary detail,
      `[E + 32, 3V]`.
    expressions: Expression coefficients of each class, `[6, E]`.
    canvas: Where the colours go.
    closure: Hair and neck.
    wardrobe: Skins of real people, and what else snapshots are made of; None
      paints faces and takes them in a studio.
    contour: Candidate vertices of the contour landmarks, `[17, 16]` int32.
    nominal_scale: Scale of the mean face seen from the front, px/mm, `[]`.
    photos_per_person: See `synthetic_world`, as all below.
    landmark_noise_px: Same.
    max_yaw_deg: Same.
    albedo: Same.
    jaw: Same.
    yaw_distribution: Same.
    sweep: Same.
    template: Same.
  """

  model: MorphableModel
  identity_rows: Float[Array, "I2 V3"]
  residual_rows: Float[Array, "E2 V3"]
  expressions: Float[Array, "6 E"]
  canvas: appearance.Canvas
  closure: HeadClosure
  wardrobe: Wardrobe | None
  contour: Int[Array, "17 16"]
  nominal_scale: Float[Array, ""]
  photos_per_person: int | Int[Array, ""]
  landmark_noise_px: float | Float[Array, ""]
  max_yaw_deg: float | Float[Array, ""]
  albedo: str = flax.struct.field(pytree_node=False)
  jaw: str = flax.struct.field(pytree_node=False)
  yaw_distribution: str = flax.struct.field(pytree_node=False)
  sweep: str = flax.struct.field(pytree_node=False)
  template: str = flax.struct.field(pytree_node=False)


def synthetic_world(
  model: MorphableModel,
  *,
  albedo: str = "per_person",
  jaw: str = "visible_contour",
  detector: LandmarkCalibration | None = None,
  skins: Skins | None = None,
  photos_per_person: int = 8,
  landmark_noise_px: float = 1.0,
  detail_mm: float | None = None,
  temporary_detail_mm: float | None = None,
  yaw_distribution: str = "mixed",
  max_yaw_deg: float = 90.0,
  sweep: str = "none",
  template: str = SPHEREFACE,
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
    detector: Reports the landmarks where this calibration of the model's
      landmarks has them, with its noise where it has covariances; None takes
      the model's vertices and `landmark_noise_px`.
    skins: Real people's, for this model: faces wear one of them, a mixture of
      some of like tone or, few, a painted one, and are taken by any camera in
      any light; None paints all, in soft light.
    photos_per_person: Photos with consecutive indices that show one person.
    landmark_noise_px: Standard deviation of each landmark coordinate, in
      pixels of a photo whose frontal face has the crop's size; not used where
      `detector` has covariances.
    detail_mm: Root mean square of the person-specific detail along the
      normals: waves of 10 to 25 mm; None is 0.4, with skins 0.15.
    temporary_detail_mm: The same of each photo's own detail, 8 to 16 mm.
    yaw_distribution: `mixed`, `uniform` or `frontal`; see
      `photography.head_rotation`.
    max_yaw_deg: Largest yaw, degrees.
    sweep: `yaw` gives a person's photos even steps of yaw from the largest to
      the left to the largest to the right, upright and neutral; `expression`
      gives them the classes in turn; `none` leaves both to chance.
    template: What crops are aligned by, one of `crop_templates.TEMPLATES`.
    world_seed: Chooses detail fields, skin patterns and expression classes.

  Returns:
    The world.

  Raises:
    UserError: An option is unknown or out of range, or the model lacks one
      of the landmarks 17 to 67 that alignment and paint need, 0 to 67 where
      the template is `whole_face`.
  """
  usual = _DETAIL_MM if skins is None else _SKIN_DETAIL_MM
  detail_mm = usual[0] if detail_mm is None else detail_mm
  if temporary_detail_mm is None:
    temporary_detail_mm = usual[1]
  check_choice("albedo", albedo, ALBEDOS)
  check_choice("jaw", jaw, JAWS)
  check_choice("yaw_distribution", yaw_distribution, YAW_DISTRIBUTIONS)
  check_choice("sweep", sweep, _SWEEPS)
  check_choice("template", template, TEMPLATES)
  _check_least(1, photos_per_person=photos_per_person)
  _check_least(
    0,
    landmark_noise_px=landmark_noise_px,
    detail_mm=detail_mm,
    temporary_detail_mm=temporary_detail_mm,
    max_yaw_deg=max_yaw_deg,
  )
  first = 0 if template == WHOLE_FACE else NUM_CONTOUR
  _check_landmarks("model.landmark_vertices", model.landmark_vertices, first)
  if detector is not None:
    validate_landmark_calibration(detector, num_vertices=model.num_vertices)
    points = detector.triangle_vertices
    _check_landmarks("detector.triangle_vertices", points, first)
  model = model.replace(landmark_calibration=detector)
  detail = _detail_rows(
    model, DETAIL_FIELDS, _DETAIL_WAVELENGTHS_MM, detail_mm, world_seed
  )
  temporary = _detail_rows(
    model,
    TEMPORARY_FIELDS,
    _TEMPORARY_WAVELENGTHS_MM,
    temporary_detail_mm,
    world_seed + 1,
  )
  canvas = appearance.make_canvas(model, seed=world_seed)
  closure = head_closure(model)
  wardrobe = None
  if skins is not None:
    wardrobe = make_wardrobe(model, closure, canvas, skins, seed=world_seed)
  return SyntheticWorld(
    model=jax.tree.map(jnp.asarray, model),
    identity_rows=jnp.concatenate(
      [flatten_basis(jnp.asarray(model.identity_basis)), detail]
    ),
    residual_rows=jnp.concatenate(
      [flatten_basis(jnp.asarray(model.expression_basis)), temporary]
    ),
    expressions=_expression_classes(model, world_seed),
    canvas=canvas,
    closure=closure,
    wardrobe=wardrobe,
    contour=contour_candidates(model),
    nominal_scale=nominal_scale(model),
    albedo=albedo,
    jaw=jaw,
    photos_per_person=photos_per_person,
    landmark_noise_px=landmark_noise_px,
    yaw_distribution=yaw_distribution,
    max_yaw_deg=max_yaw_deg,
    sweep=sweep,
    template=template,
  )


def _check_least(least: float, **values: float) -> None:
  for name, value in values.items():
    if not value >= least:
      raise UserError(f"{name}: expected at least {least}, got {value}")


def _check_landmarks(
  name: str, vertices: Array | np.ndarray, first: int
) -> None:
  if np.min(np.asarray(vertices)[first:]) < 0:
    raise UserError(f"{name}: expected all of landmarks {first} to 67, got -1")


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


def _expression_classes(model: MorphableModel, seed: int) -> Array:
  """None, and five expressions `[6, E]`.

  Some that blendshapes make where the model has such, or else sparse
  directions: one leading mode each and two weaker.
  """
  rng = np.random.default_rng(seed)
  expression_dim = model.expression_dim
  directions = np.zeros((EXPRESSION_CLASSES, expression_dim))
  if model.expression_samples is not None:
    samples = np.asarray(model.expression_samples)
    size = np.linalg.norm(samples, axis=1)
    strong = np.argsort(size, kind="stable")[len(size) // 2 :]
    strong = strong[: max(1, len(strong) - len(size) // 10)]
    chosen = np.resize(rng.permutation(strong), EXPRESSION_CLASSES - 1)
    directions[1:] = samples[chosen]
    return jnp.asarray(directions, jnp.float32)
  modes = min(expression_dim, 12)
  for number in range(1, EXPRESSION_CLASSES):
    others = rng.choice(modes, size=min(2, modes), replace=False)
    directions[number, others] = rng.uniform(-0.7, 0.7, len(others))
    directions[number, (number - 1) % modes] = 1.7
  return jnp.asarray(directions, jnp.float32)
