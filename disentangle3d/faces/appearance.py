"""Skin, brows, lips, eyes and hair as vertex colours of a synthetic face.

Colours are linear RGB albedo. Where a feature lies is found from the model's
landmarks, so that any MorphableModel can be painted.
"""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float
import numpy as np
import scipy

from disentangle3d.faces.head_closure import outer_border
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.regions import face_regions

# Layers painted over the skin, in this order.
_LAYERS = (
  "beard",
  "cheeks",
  "nose",
  "brows",
  "lips",
  "mouth",
  "eyes",
  "iris",
  "pupil",
  "hairline",
)
_PATTERNS = 24
PALETTE_DRAWS = 9 + 4 * (1 + _PATTERNS)
# Lightest and darkest skin.
_LIGHT_SKIN = (0.66, 0.41, 0.31)
_DARK_SKIN = (0.17, 0.085, 0.055)


@flax.struct.dataclass
class Canvas:
  """Where colours go on a model.

  Attributes:
    layers: Opacity of each layer of paint, `[10, V]`.
    patterns: Smooth random fields of unit variance, `[24, V]`.
  """

  layers: Float[Array, "M V"]
  patterns: Float[Array, "P V"]


@flax.struct.dataclass
class Palette:
  """The colours of one face.

  Attributes:
    skin: `[3]`.
    layers: Colours of the layers of paint, `[10, 3]`.
    opacity: Strength of each layer, `[10]`.
    patterns: Weights of the patterns, as a share of the skin colour,
      `[24, 3]`.
    hair: `[3]`.
    hair_mm: Thickness of the hair, `[]`.
  """

  skin: Float[Array, "*B 3"]
  layers: Float[Array, "*B M 3"]
  opacity: Float[Array, "*B M"]
  patterns: Float[Array, "*B P 3"]
  hair: Float[Array, "*B 3"]
  hair_mm: Float[Array, "*B"]


def layer(name: str) -> int:
  """The number of a layer of paint."""
  return _LAYERS.index(name)


def make_canvas(model: MorphableModel, *, seed: int = 0) -> Canvas:
  """Finds the features of a model by its landmarks, on the host."""
  mean = np.asarray(model.mean_shape, np.float64)
  regions = face_regions(model) | {"hairline": _hairline(model, mean)}
  wavelengths = np.geomspace(60, 14, _PATTERNS)
  return Canvas(
    layers=jnp.stack([jnp.asarray(regions[name]) for name in _LAYERS]),
    patterns=jnp.asarray(
      smooth_fields(mean, wavelengths, seed=seed), jnp.float32
    ),
  )


def smooth_fields(
  points: np.ndarray, wavelengths: np.ndarray, *, seed: int
) -> np.ndarray:
  """Random Fourier features of points `[V, 3]`: `[len(wavelengths), V]`.

  Each field is a plane wave of unit variance in a random direction.
  """
  rng = np.random.default_rng(seed)
  directions = rng.normal(size=(len(wavelengths), 3))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  phases = rng.uniform(0, 2 * np.pi, len(wavelengths))
  waves = 2 * np.pi * directions / np.asarray(wavelengths)[:, None]
  return np.sqrt(2) * np.cos(waves @ points.T + phases[:, None])


def random_palette(normal: Float[Array, "X"]) -> Palette:
  """The colours of a face from `PALETTE_DRAWS` standard normal numbers."""
  uniform = norm.cdf(normal[:9])
  normal = normal[9:].reshape(1 + _PATTERNS, 4)
  darkness = uniform[0] ** 1.6
  skin = _mix_skin(darkness) * jnp.exp(0.05 * normal[0, :3])
  hair = _hair(uniform[1] ** 2, darkness)
  iris = jnp.where(
    uniform[2] < 0.35 * (1 - darkness),
    jnp.asarray([0.10, 0.19, 0.28], jnp.float32),
    jnp.asarray([0.10, 0.05, 0.025], jnp.float32),
  )
  red = 0.2 + 0.5 * uniform[3]
  strength = jnp.append(0.55 + 0.4 * uniform[4:6], uniform[6])
  patterns = normal[1:, 3:] + 0.2 * normal[1:, :3]
  scale = (0.02 + 0.04 * uniform[7]) / jnp.sqrt(_PATTERNS / 4.0)
  return dataclasses.replace(
    _palette(skin, hair, iris, red, strength),
    patterns=scale * patterns,
    hair_mm=8 + 18 * uniform[8],
  )


def constant_palette() -> Palette:
  """The colours of every face where albedo must say nothing."""
  darkness = jnp.float32(0.25)
  return _palette(
    _mix_skin(darkness),
    _hair(jnp.float32(0.1), darkness),
    jnp.asarray([0.10, 0.05, 0.025], jnp.float32),
    jnp.float32(0.6),
    jnp.asarray([0.7, 0.7, 0.0], jnp.float32),
  )


def paint(
  canvas: Canvas, palette: Palette, hair: Float[Array, "X"]
) -> Float[Array, "V2 3"]:
  """Vertex colours of one face, then those of hair (1) and neck (0)."""
  pattern = jnp.einsum("pv,pc->vc", canvas.patterns, palette.patterns)
  color = palette.skin[None] * (1 + jnp.clip(pattern, -0.6, 0.6))
  for layer in range(len(_LAYERS)):
    alpha = (canvas.layers[layer] * palette.opacity[layer])[:, None]
    color = color + alpha * (palette.layers[layer][None] - color)
  rest = hair[:, None] * palette.hair[None]
  rest = rest + (1 - hair[:, None]) * 0.8 * palette.skin[None]
  return jnp.clip(jnp.concatenate([color, rest]), 0, 1)


def _mix_skin(darkness: Array) -> Array:
  return jnp.exp(
    (1 - darkness) * jnp.log(jnp.asarray(_LIGHT_SKIN, jnp.float32))
    + darkness * jnp.log(jnp.asarray(_DARK_SKIN, jnp.float32))
  )


def _hair(grey: Array, darkness: Array) -> Array:
  black, blond = (
    jnp.asarray([0.02, 0.015, 0.012], jnp.float32),
    jnp.asarray([0.32, 0.21, 0.10], jnp.float32),
  )
  return black + grey * (1 - darkness) * (blond - black)


def _palette(
  skin: Array, hair: Array, iris: Array, red: Array, strength: Array
) -> Palette:
  ruddy = skin * jnp.asarray([1.0, 0.78, 0.78], jnp.float32)
  layers = jnp.stack(
    [
      0.5 * hair + 0.3 * skin,
      ruddy,
      ruddy,
      0.8 * hair + 0.1 * skin,
      skin * jnp.asarray([0.85, 0.5, 0.53], jnp.float32),
      jnp.asarray([0.12, 0.03, 0.03], jnp.float32),
      jnp.asarray([0.62, 0.6, 0.58], jnp.float32),
      iris,
      jnp.asarray([0.01, 0.01, 0.01], jnp.float32),
      hair,
    ]
  )
  one = jnp.ones_like(red)
  # Every other face has a beard, of any strength.
  beard = jnp.maximum(2 * strength[2] - 1, 0)
  opacity = jnp.stack([beard, red, red, strength[0], strength[1], *5 * (one,)])
  return Palette(
    skin=skin,
    layers=layers,
    opacity=opacity,
    patterns=jnp.zeros((_PATTERNS, 3), jnp.float32),
    hair=hair,
    hair_mm=jnp.float32(15),
  )


def _hairline(model: MorphableModel, mean: np.ndarray) -> np.ndarray:
  """1 along the border above the eyes, falling off over 9 mm; `[V]`."""
  eyes = np.asarray(model.landmark_vertices)[36:48]
  border = mean[outer_border(np.asarray(model.triangles), mean)]
  border = border[border[:, 1] > mean[eyes, 1].mean()]
  if not len(border):
    return np.zeros(len(mean), np.float32)
  distance, _ = scipy.spatial.cKDTree(border).query(mean)
  return np.exp(-0.5 * (distance / 9.0) ** 4).astype(np.float32)
