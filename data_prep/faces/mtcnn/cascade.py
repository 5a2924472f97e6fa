"""The cascade of MTCNN's three networks, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from data_prep.faces.mtcnn import boxes as box_steps
from data_prep.faces.mtcnn.networks import (
  ONET_SIZE,
  PNET_STRIDE,
  PNET_WINDOW,
  RNET_SIZE,
  onet,
  pnet,
  pnet_map_size,
  rnet,
)
from data_prep.faces.mtcnn.patches import crop_patches, map_present, pack_pixels
from data_prep.faces.mtcnn.pyramid import STRIP_ROWS

# The package's: how much boxes of one level, of all levels, and after each
# network may cover each other.
_PNET_LEVEL_OVERLAP = 0.5
_OVERLAP = 0.7
# The best so many boxes of a photo enter the first suppression and leave the
# second network; a photo of a crowd has more.
_PROPOSALS = 1024
_REFINED = 256
_RNET_AT_ONCE = 64
_ONET_AT_ONCE = 16


def detect(
  weights: dict[str, dict[str, Array]],
  images: UInt8[Array, "B N 3"],
  sizes: Int[Array, "B 2"],
  *,
  strips: Float[Array, "N P S 3"],
  inside: Bool[Array, "N P S"],
  count: Int[Array, ""],
  windows: Int[Array, "B W"],
  ends: Int[Array, "B L"],
  corners: Int[Array, "B L 2"],
  scales: Float[Array, "L"],
  thresholds: Float[Array, "3"],
) -> tuple[Array, Array, Array]:
  """The faces of photos on one canvas.

  Args:
    weights: Of the three networks, as `prepare_weights` lays them.
    images: The photos' pixels, row after row.
    sizes: Height and width of each.
    strips: This and up to `corners`: the photos' pyramids, see `Mosaics`.
    inside: Same.
    count: Same.
    windows: Same.
    ends: Same.
    corners: Same.
    scales: How much photos are shrunk for each level.
    thresholds: The least probability after each of the networks.

  Returns:
    Boxes `[B, R, 4]`, points `[B, R, 5, 2]`, scores `[B, R]`, 0 if none.
  """
  score, offset = _look_at_strips(weights["pnet"], strips, inside, count)
  boxes, present = _propose(
    score, offset, windows, ends, corners, scales, thresholds[0]
  )
  photo = pack_pixels(images)

  def judge_rnet(owner: Array, boxes: Array) -> Array:
    patches = crop_patches(photo, sizes, owner, boxes, RNET_SIZE)
    score, offsets = rnet(weights["rnet"], patches)
    return jnp.concatenate([score[:, None], offsets], -1)

  judged = map_present(
    judge_rnet, boxes, present, columns=5, at_once=_RNET_AT_ONCE
  )
  scores = jnp.where(present, judged[..., 0], 0.0)
  boxes = box_steps.refine(boxes, judged[..., 1:])
  scores, boxes = _best(scores, _REFINED, boxes)
  present = box_steps.suppress(boxes, scores > thresholds[1], most=_OVERLAP)
  boxes = box_steps.square(boxes)

  def judge_onet(owner: Array, boxes: Array) -> Array:
    patches = crop_patches(photo, sizes, owner, boxes, ONET_SIZE)
    score, offsets, points = onet(weights["onet"], patches)
    return jnp.concatenate([score[:, None], offsets, points], -1)

  judged = map_present(
    judge_onet, boxes, present, columns=15, at_once=_ONET_AT_ONCE
  )
  points = box_steps.points_in_photo(boxes, judged[..., 5:])
  boxes = box_steps.refine(boxes, judged[..., 1:5])
  scores, boxes, points = _best(
    jnp.where(present, judged[..., 0], 0.0), _REFINED, boxes, points
  )
  present = box_steps.suppress(
    boxes, scores > thresholds[2], most=_OVERLAP, over="smaller"
  )
  return boxes, points, jnp.where(present, scores, 0.0)


def _look_at_strips(
  weights: dict[str, Array],
  strips: Float[Array, "N P S 3"],
  inside: Bool[Array, "N P S"],
  count: Int[Array, ""],
) -> tuple[Float[Array, "N h w"], Float[Array, "N h w 4"]]:
  """The proposal network's scores and offsets; one map, strip below strip."""

  def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    place, scores, offsets = state
    score, offset = pnet(weights, strips[place][None], inside[place][None])
    return (
      place + 1,
      scores.at[place].set(score[0]),
      offsets.at[place].set(offset[0]),
    )

  shape = (len(strips), STRIP_ROWS, pnet_map_size(strips.shape[2]))
  start = jnp.zeros((), count.dtype)
  scores = jnp.zeros(shape, jnp.float32)
  offsets = jnp.zeros((*shape, 4), jnp.float32)
  return jax.lax.while_loop(
    lambda state: state[0] < count, step, (start, scores, offsets)
  )[1:]


def _propose(
  score: Float[Array, "N h w"],
  offset: Float[Array, "N h w 4"],
  windows: Int[Array, "B W"],
  ends: Int[Array, "B L"],
  corners: Int[Array, "B L 2"],
  scales: Float[Array, "L"],
  threshold: Float[Array, ""],
) -> tuple[Array, Array]:
  """Squares where a face may be, `[B, P, 4]`, and which there are."""
  across = score.shape[-1]
  number = jnp.arange(windows.shape[1], dtype=jnp.int32)[None]
  scores = score.reshape(-1)[windows]
  scores = jnp.where(number < ends[:, -1:], scores, 0.0)
  scores, window, number = _best(
    scores, _PROPOSALS, windows, jnp.broadcast_to(number, windows.shape)
  )
  offset = offset.reshape(-1, 4)[window]
  level = jnp.sum(number[..., None] >= ends[:, None], -1)
  level = jnp.minimum(level, ends.shape[1] - 1)
  corner = PNET_STRIDE * jnp.stack([window % across, window // across], -1)
  corner -= jnp.take_along_axis(corners, level[..., None], axis=1)
  scale = scales[level]
  box = jnp.concatenate([corner + 1, corner + PNET_WINDOW], -1)
  boxes = (box + offset * (PNET_WINDOW - 1)) / scale[..., None]
  present = scores > threshold
  present = box_steps.suppress(
    boxes, present, most=_PNET_LEVEL_OVERLAP, group=level
  )
  present = box_steps.suppress(boxes, present, most=_OVERLAP)
  return box_steps.square(boxes), present


def _best(scores: Array, count: int, *arrays: Array) -> tuple[Array, ...]:
  """The best of each photo in order: scores `[B, count]` and what is theirs.

  Certain proposals have exactly 1.0, and which of them suppresses the others
  decides the box: the last comes first, as the package sorts them.
  """
  last = scores.shape[1] - 1
  scores, places = jax.lax.top_k(scores[:, ::-1], min(count, last + 1))
  places = last - places
  return scores, *(
    jnp.take_along_axis(
      array, places.reshape(*places.shape, *(1,) * (array.ndim - 2)), axis=1
    )
    for array in arrays
  )
