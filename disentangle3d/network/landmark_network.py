"""A small network that finds the 68 landmarks of a face at any pose.

Out of a square crop around a face: where every point is, how deep, how sure
that is, and whether the face itself hides it; the jaw in both conventions, on
the mesh (points 0 to 16) and along the silhouette. Residual 3x3 convolutions
down to a 6x6 map and two dense layers say about where each point is; a map of
24x24 cells a point, made of the convolutions' maps from coarse to fine, says
where about there it is: what a face looks like here, and not what faces look
like. No batch norm, as in this project's other trunks.
"""

from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from disentangle3d.types import (
  LANDMARK_MIRROR,
  NUM_CONTOUR,
  NUM_LANDMARKS,
  check_array,
)

CROP_PX = 96
# Residual blocks after each halving, and their width.
WIDTHS, BLOCKS = (16, 32, 64, 128), (1, 2, 2, 1)
HIDDEN = 256
# Channels of the maps that the evidence for points is read from, and how many
# halvings their cells lie apart.
_EVIDENCE_WIDTH, _EVIDENCE_STAGE = 48, 1
_CELL_PX = 2 ** (_EVIDENCE_STAGE + 1)
# How far about where the dense layers have it a point is looked for, pixels.
_REACH_PX = 6.0
# Added to a sum of weights, so that no gradient is of nothing by nothing.
_LEAST_WEIGHT = 1e-30
_SLOPE = 0.1
_MIDDLE = (CROP_PX - 1) / 2
# Logarithms of spreads in pixels: where training begins, and their limits.
_LOG_SPREAD, _LOG_SPREADS = 2.0, (-2.5, 3.0)
# x, y, depth, logarithm of the spread, visibility; of the silhouette x, y and
# the logarithm of the spread.
_PER_POINT, _PER_SILHOUETTE = 5, 3
_keep_variance = nn.initializers.variance_scaling(
  2 / (1 + _SLOPE**2), "fan_in", "normal"
)


class FacePoints(flax.struct.PyTreeNode):
  """What the network says of faces, in the crop's pixels.

  Attributes:
    points: x, y and depth of the 68 points, `[*B, 68, 3]`; depth is greater
      nearer to the viewer, 0 is the points' mean. The jaw is the mesh's.
    spread_px: Scale of the Laplace distribution of each point's distance,
      `[*B, 68]`: the expected distance is twice that.
    visibility_logit: Log odds that the face does not hide it, `[*B, 68]`.
    silhouette: The jaw as 2D detectors mark it, `[*B, 17, 2]`.
    silhouette_spread_px: As `spread_px`, `[*B, 17]`.
  """

  points: Float[Array, "*B 68 3"]
  spread_px: Float[Array, "*B 68"]
  visibility_logit: Float[Array, "*B 68"]
  silhouette: Float[Array, "*B 17 2"]
  silhouette_spread_px: Float[Array, "*B 17"]


class LandmarkNetwork(nn.Module):
  """The network; its params are all that decides what it finds."""

  @nn.compact
  def __call__(self, crops: Float[Array, "B 96 96 3"]) -> FacePoints:
    """Finds the points.

    Args:
      crops: RGB, mapped to [-1, 1], `[B, 96, 96, 3]`.

    Returns:
      `FacePoints`, batch dimensions `[B]`.

    Raises:
      ValueError: `crops` has another shape.
      TypeError: `crops` is not floating.
    """
    check_array("crops", crops, f"B {CROP_PX} {CROP_PX} 3")
    x = _activate(_convolution(WIDTHS[0], 2, "stem")(crops))
    levels = []
    for stage, (width, blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
      if stage:
        x = _activate(_convolution(width, 2, f"down{stage}")(x))
      for block in range(blocks):
        inner = _convolution(width, 1, f"block{stage}_{block}a")(x)
        inner = nn.Conv(
          width,
          (3, 3),
          kernel_init=nn.initializers.normal(0.01),
          name=f"block{stage}_{block}b",
        )(_activate(inner))
        x = x + inner
      levels.append(x)
    evidence = _evidence(levels)
    x = x.reshape(x.shape[0], -1)
    x = nn.Dense(HIDDEN, kernel_init=_keep_variance, name="hidden")(x)
    outputs = NUM_LANDMARKS * _PER_POINT + NUM_CONTOUR * _PER_SILHOUETTE
    small = nn.initializers.normal(0.003)
    out = nn.Dense(outputs, kernel_init=small, name="out")(_activate(x))
    return _moved(_read(out), evidence)


def find_points(params: Any, crops: Float[Array, "B 96 96 3"]) -> FacePoints:
  """What the network of these params says of mapped crops."""
  return cast(FacePoints, LandmarkNetwork().apply({"params": params}, crops))


def _activate(x: Array) -> Array:
  return nn.leaky_relu(x, _SLOPE)


def _convolution(width: int, stride: int, name: str) -> nn.Conv:
  return nn.Conv(
    width,
    (3, 3),
    strides=stride,
    padding=((1, 1), (1, 1)),
    kernel_init=_keep_variance,
    name=name,
  )


def _read(out: Float[Array, "B outputs"]) -> FacePoints:
  """The last layer's numbers by name; lengths in halves of the crop."""
  batch = out.shape[0]
  split = NUM_LANDMARKS * _PER_POINT
  each = out[:, :split].reshape(batch, NUM_LANDMARKS, _PER_POINT)
  contour = out[:, split:].reshape(batch, NUM_CONTOUR, _PER_SILHOUETTE)
  half = CROP_PX / 2
  middle = jnp.asarray([_MIDDLE, _MIDDLE, 0.0], jnp.float32)
  return FacePoints(
    points=half * each[..., :3] + middle[None, None],
    spread_px=_spread(each[..., 3]),
    visibility_logit=each[..., 4],
    silhouette=half * contour[..., :2] + middle[None, None, :2],
    silhouette_spread_px=_spread(contour[..., 2]),
  )


def _evidence(levels: Sequence[Array]) -> Float[Array, "B 24 24 85"]:
  """Maps of each point and of the silhouette's, from the coarsest level up."""
  sides = [
    nn.Dense(_EVIDENCE_WIDTH, kernel_init=_keep_variance, name=f"side{stage}")(
      level
    )
    for stage, level in enumerate(levels)
    if stage >= _EVIDENCE_STAGE
  ]
  x = sides.pop()
  while sides:
    finer = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    stage = _EVIDENCE_STAGE + len(sides) - 1
    x = _convolution(_EVIDENCE_WIDTH, 1, f"up{stage}")(
      _activate(finer + sides.pop())
    )
  small = nn.initializers.normal(0.003)
  outputs = NUM_LANDMARKS + NUM_CONTOUR
  return nn.Dense(outputs, kernel_init=small, name="evidence")(_activate(x))


def _moved(found: FacePoints, evidence: Array) -> FacePoints:
  """Points where the evidence has them, about where they were."""
  flat = jnp.concatenate([found.points[..., :2], found.silhouette], 1)
  flat = flat + _moves(flat, evidence)
  return found.replace(
    points=jnp.concatenate(
      [flat[:, :NUM_LANDMARKS], found.points[..., 2:]], -1
    ),
    silhouette=flat[:, NUM_LANDMARKS:],
  )


def _moves(
  about: Float[Array, "B P 2"], evidence: Float[Array, "B 24 24 P"]
) -> Float[Array, "B P 2"]:
  """How far a point's mean moves from its prior's to its posterior's.

  The prior is normal about where the point was, the evidence the likelihood's
  logarithm, both of the cells.
  """
  cells = _CELL_PX * jnp.arange(evidence.shape[1], dtype=jnp.float32)
  apart = (cells[None, None, None] - about[..., None]) / _REACH_PX
  prior = jax.nn.softmax(-0.5 * apart**2)
  # Cells by points, as the evidence is.
  across, down = jnp.transpose(prior, (2, 0, 3, 1))
  highest = jax.lax.stop_gradient(evidence.max((1, 2), keepdims=True))
  joint = jnp.exp(evidence - highest) * down[:, :, None] * across[:, None]
  after = jnp.moveaxis(jnp.stack([joint.sum(1), joint.sum(2)], 1), -1, 1)
  after = after / (jnp.sum(after, -1, keepdims=True) + _LEAST_WEIGHT)
  return (after - prior) @ cells


def _spread(out: Array) -> Array:
  return jnp.exp(jnp.clip(_LOG_SPREAD + out, *_LOG_SPREADS))


def mirrored_points(found: FacePoints) -> FacePoints:
  """What was found in a crop's mirror image, in the crop."""
  batch = found.spread_px.ndim * (1,)
  right = jnp.asarray([CROP_PX - 1, 0, 0], jnp.float32).reshape(*batch, 3)
  flip = jnp.asarray([-1, 1, 1], jnp.float32).reshape(*batch, 3)
  contour = LANDMARK_MIRROR[:NUM_CONTOUR]
  return FacePoints(
    points=(found.points * flip + right)[..., LANDMARK_MIRROR, :],
    spread_px=found.spread_px[..., LANDMARK_MIRROR],
    visibility_logit=found.visibility_logit[..., LANDMARK_MIRROR],
    silhouette=(found.silhouette * flip[..., :2] + right[..., :2])[
      ..., contour, :
    ],
    silhouette_spread_px=found.silhouette_spread_px[..., contour],
  )


def mapped_crops(crops: Array) -> Float[Array, "*B 96 96 3"]:
  """uint8 crops as the network takes them."""
  return (crops.astype(jnp.float32) - 127.5) / 128


def visibility_of(found: FacePoints) -> Float[Array, "*B 68"]:
  """Probability that the face does not hide a point."""
  return jax.nn.sigmoid(found.visibility_logit)
