"""Skins of real people, mixed into skins of people who never were."""

import math

import flax.struct
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int
import numpy as np

from disentangle3d.faces import appearance
from disentangle3d.faces.cavities import Cavities, cavity_points, find_cavities
from disentangle3d.faces.head_closure import HeadClosure
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.skins import GAMMA, Skins, mode_lengths_mm
from disentangle3d.types import UserError

# Skins a face is mixed of, and the fields that say where which prevails.
_PARTNERS = 3
_FIELDS = 6
_WAVELENGTHS_MM = (90.0, 40.0)
SKIN_DRAWS = 2 + _PARTNERS * (1 + _FIELDS) + 4
# Partners are so many places of the order by tone apart, as a deviation.
_TONE_PLACES = 8.0
# Decided borders between the partners' parts: a blend of all would be a face
# in soft focus.
_SHARPNESS = 4.0
# Shares of faces that wear one person's skin whole, and a procedural one.
_WHOLE, _PROCEDURAL = 0.25, 0.03
# How far down from the top of a mesh its scalp reaches.
_SCALP_MM = 16.0
# The upper teeth end so far below closed lips, and fade in the mouth's corners.
_TEETH_BELOW_LIPS_MM, _TEETH_TO_SIDES_MM = 2.0, (17.0, 23.0)
_TEETH = (0.62, 0.57, 0.49)


@flax.struct.dataclass
class Wardrobe:
  """What faces are dressed from.

  Attributes:
    albedo: Linear RGB of the vertices of mesh and cavities, by rising tone,
      `[N, V + C, 3]`.
    tone: Of each skin's cheeks, `[N, 3]`.
    fields: Smooth fields of unit variance, `[6, V + C]`.
    scalp: Weights of the vertices whose mean is the hair's colour, `[V + C]`.
    cavities: What closes the mesh.
    triangles: Of the mesh's V vertices, hair and neck, then cavities,
      `[F4, 3]` int32.
    subnasale: The vertex below the nose, which smiles move least, `[]` int32.
    teeth_mm: From it down to the upper teeth's edge, `[]`.
    backdrops: Linear RGB, `[M, h, w, 3]`.
    smiles: Expression coefficients, `[S, E]`.
  """

  albedo: Float[Array, "N VC 3"]
  tone: Float[Array, "N 3"]
  fields: Float[Array, "6 VC"]
  scalp: Float[Array, "VC"]
  cavities: Cavities
  triangles: Int[Array, "F4 3"]
  subnasale: Int[Array, ""]
  teeth_mm: Float[Array, ""]
  backdrops: Float[Array, "M h w 3"]
  smiles: Float[Array, "S E"]


@flax.struct.dataclass
class Dress:
  """The colours of a face.

  Attributes:
    face: Of mesh and cavities, linear RGB, `[V + C, 3]`.
    skin: The tone of its cheeks, `[3]`.
    hair: `[3]`.
  """

  face: Float[Array, "*B VC 3"]
  skin: Float[Array, "*B 3"]
  hair: Float[Array, "*B 3"]


def make_wardrobe(
  model: MorphableModel,
  closure: HeadClosure,
  canvas: appearance.Canvas,
  skins: Skins,
  *,
  seed: int,
) -> Wardrobe:
  """Prepares skins for a world, on the host.

  Raises:
    UserError: The skins are for another mesh.
  """
  cavities = find_cavities(model)
  mean = jnp.asarray(model.mean_shape, jnp.float32)
  points = np.asarray(
    jnp.concatenate([mean, cavity_points(cavities, mean[None])[0]])
  )
  if skins.albedo.shape[1] != len(points):
    raise UserError(
      f"skins.albedo: expected colours of {len(points):,} vertices as"
      f" {model.name!r} has with its holes closed, got those of"
      f" {skins.albedo.shape[1]:,}"
    )
  albedo = (np.asarray(skins.albedo) / np.float32(255)) ** GAMMA
  cheeks = np.asarray(canvas.layers)[appearance.layer("cheeks")]
  tone = np.einsum("v,nvc->nc", cheeks / cheeks.sum(), albedo[:, : len(mean)])
  order = np.argsort(tone.mean(-1), kind="stable")
  if skins.smiles.shape[1] < model.expression_dim:
    raise UserError(
      f"skins.smiles: expected {model.expression_dim} expression coefficients"
      f" or more, as {model.name!r} has, got {skins.smiles.shape[1]}"
    )
  modes_mm = np.asarray(skins.modes_mm)[: model.expression_dim]
  if not np.allclose(modes_mm, mode_lengths_mm(model), rtol=1e-2):
    raise UserError(
      f"skins.smiles: expected coefficients of {model.name!r}'s expression"
      " modes, got those of other modes; data_prep.convert_morphable_model or"
      " data_prep.make_skins, run again, agrees with the other"
    )
  below_nose, upper_lip = np.asarray(model.landmark_vertices)[[33, 62]]
  lip_mm = points[below_nose, 1] - points[upper_lip, 1]
  depth = points[:, 1].max() - points[:, 1]
  scalp = np.clip((_SCALP_MM - depth) / 5, 0, 1)
  return Wardrobe(
    albedo=jnp.asarray(albedo[order], jnp.float32),
    tone=jnp.asarray(tone[order], jnp.float32),
    fields=jnp.asarray(
      appearance.smooth_fields(
        points, np.geomspace(*_WAVELENGTHS_MM, _FIELDS), seed=seed
      ),
      jnp.float32,
    ),
    scalp=jnp.asarray(scalp / scalp.sum(), jnp.float32),
    cavities=cavities,
    triangles=_renumbered(closure, cavities, model.num_vertices),
    subnasale=jnp.asarray(below_nose, jnp.int32),
    teeth_mm=jnp.asarray(lip_mm + _TEETH_BELOW_LIPS_MM, jnp.float32),
    backdrops=jnp.asarray(
      (np.asarray(skins.backdrops) / np.float32(255)) ** GAMMA
    ),
    smiles=jnp.asarray(skins.smiles[:, : model.expression_dim], jnp.float32),
  )


def dress(
  wardrobe: Wardrobe,
  canvas: appearance.Canvas,
  palette: appearance.Palette,
  normal: Float[Array, "X"],
) -> Dress:
  """One face's colours.

  Args:
    wardrobe: The skins.
    canvas: Where paint goes on the mesh.
    palette: The procedural skin: whole for some, its patterns and beard on
      the skins of the others.
    normal: `SKIN_DRAWS` standard normal numbers.
  """
  uniform = norm.cdf(normal[:2])
  last = wardrobe.albedo.shape[0] - 1
  rest = normal[2:].reshape(-1)
  places = uniform[0] * last + _TONE_PLACES * rest[:_PARTNERS]
  partners = jnp.clip(jnp.round(places), 0, last).astype(jnp.int32)
  taste = rest[_PARTNERS : _PARTNERS * (1 + _FIELDS)].reshape(
    _PARTNERS, _FIELDS
  )
  jitter = rest[_PARTNERS * (1 + _FIELDS) :]
  whole = jnp.where(uniform[1] < _WHOLE, 100.0, 0.0)
  ground = jnp.eye(_PARTNERS, dtype=jnp.float32)[0] * whole
  liking = ground[:, None] + taste @ wardrobe.fields / math.sqrt(_FIELDS)
  share = jax.nn.softmax(_SHARPNESS * liking, 0)
  skin = jnp.mean(wardrobe.tone[partners], 0)
  skin = skin * jnp.exp(0.12 * jitter[0] + 0.04 * jitter[1:4])
  level = skin[None] / wardrobe.tone[partners]
  face = jnp.einsum("pv,pvc,pc->vc", share, wardrobe.albedo[partners], level)
  face = _touched_up(wardrobe, canvas, palette, face)
  painted = jnp.where(uniform[1] > 1 - _PROCEDURAL, 1.0, 0.0)
  face = face + painted * (_procedural(wardrobe, canvas, palette) - face)
  return Dress(
    face=jnp.clip(face, 0.003, 0.95),
    skin=skin + painted * (palette.skin - skin),
    hair=wardrobe.scalp @ face,
  )


def dressed_points(
  wardrobe: Wardrobe, shape: Float[Array, "B V 3"], head: Float[Array, "B V2 3"]
) -> Float[Array, "B V3 3"]:
  """Vertices of `wardrobe.triangles`; `head` is `close_head` of the shapes."""
  return jnp.concatenate([head, cavity_points(wardrobe.cavities, shape)], 1)


def dressed_colors(
  wardrobe: Wardrobe,
  dressed: Dress,
  closure: HeadClosure,
  points: Float[Array, "V3 3"],
) -> Float[Array, "V3 3"]:
  """Colours of one face's `dressed_points`, teeth where its mouth is open."""
  hair = closure.hair.reshape(-1)[:, None]
  rings = hair * dressed.hair[None] + (1 - hair) * 0.8 * dressed.skin[None]
  count = dressed.face.shape[0] - wardrobe.cavities.num_vertices
  face, cavities = dressed.face[:count], dressed.face[count:]
  teeth = _teeth(wardrobe, points)[:, None]
  white = jnp.asarray([_TEETH], jnp.float32)
  return jnp.concatenate([face, rings, cavities + teeth * (white - cavities)])


def _teeth(wardrobe: Wardrobe, points: Float[Array, "V3 3"]) -> Array:
  """Opacity of the upper teeth, which stand still in the skull, `[C]`."""
  nose = points[wardrobe.subnasale]
  first = points.shape[0] - wardrobe.cavities.num_vertices
  place = points[first:] - nose[None]
  low, high = _TEETH_TO_SIDES_MM
  above = jnp.clip(0.5 + place[:, 1] + wardrobe.teeth_mm, 0, 1)
  between = jnp.clip((high - jnp.abs(place[:, 0])) / (high - low), 0, 1)
  return above * between * wardrobe.cavities.mouth


def _touched_up(
  wardrobe: Wardrobe,
  canvas: appearance.Canvas,
  palette: appearance.Palette,
  face: Array,
) -> Array:
  """A skin with the patterns and the beard of a palette; a dark mouth."""
  count = canvas.layers.shape[1]
  pattern = jnp.einsum("pv,pc->vc", canvas.patterns, palette.patterns)
  skin = face[:count] * (1 + jnp.clip(0.5 * pattern, -0.5, 0.5))
  number = appearance.layer("beard")
  # Half of the palette's beards: the skins have their own.
  opacity = 0.6 * jnp.clip(2 * palette.opacity[number] - 1, 0, 1)
  beard = (canvas.layers[number] * opacity)[:, None]
  skin = skin + beard * (palette.layers[number][None] - skin)
  cavity = face[count:]
  dark = jnp.asarray([[0.08, 0.025, 0.02]], jnp.float32)
  mouth = wardrobe.cavities.mouth[:, None]
  return jnp.concatenate([skin, cavity + mouth * (dark - cavity)])


def _procedural(
  wardrobe: Wardrobe, canvas: appearance.Canvas, palette: appearance.Palette
) -> Array:
  """A palette's colours, eyes and mouth included, `[V + C, 3]`."""
  skin = appearance.paint(canvas, palette, jnp.zeros((0,), jnp.float32))
  share = wardrobe.cavities.share[:, None]
  white, iris, pupil = (
    palette.layers[appearance.layer(name)][None]
    for name in ("eyes", "iris", "pupil")
  )
  eye = jnp.where(share > 0.5, white, jnp.where(share > 0.2, iris, pupil))
  mouth = wardrobe.cavities.mouth[:, None]
  dark = palette.layers[appearance.layer("mouth")][None]
  return jnp.concatenate([skin, eye + mouth * (dark - eye)])


def _renumbered(
  closure: HeadClosure, cavities: Cavities, num_vertices: int
) -> Array:
  """All triangles, the cavities' vertices after those of hair and neck."""
  shift = closure.hair.size
  inner = cavities.triangles
  inner = jnp.where(inner >= num_vertices, inner + shift, inner)
  return jnp.concatenate([closure.triangles, inner])
