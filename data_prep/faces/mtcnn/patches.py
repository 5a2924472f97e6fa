"""The pieces of photos that the second and third network look at."""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32


def pack_pixels(images: UInt8[Array, "*N 3"]) -> UInt32[Array, "*N"]:
  """One number a pixel: a pixel is fetched at once."""
  red, green, blue = (images[..., i].astype(jnp.uint32) for i in range(3))
  return red | (green << 8) | (blue << 16)


def crop_patches(
  pixels: UInt32[Array, "B N"],
  sizes: Int[Array, "B 2"],
  owner: Int[Array, "P"],
  boxes: Float[Array, "P 4"],
  size: int,
) -> Float[Array, "P s s 3"]:
  """Boxes cut out and resized (bilinear), mapped to (x - 127.5) / 128.

  As the package does it, a box's coordinates are shrunk by (size - 1) / size
  of the photo; outside of that, patches are 0, a grey.

  Args:
    pixels: Of `pack_pixels`: each photo row after row, `[B, N]`.
    sizes: Their heights and widths, `[B, 2]`.
    owner: The photo of each box, `[P]`.
    boxes: x0, y0, x1, y1 in the photo's pixels, `[P, 4]`.
    size: s.
  """
  row, dy, row_inside = _positions(boxes[:, 1::2], sizes[owner, 0], size)
  column, dx, column_inside = _positions(boxes[:, ::2], sizes[owner, 1], size)
  base = (owner * pixels.shape[1])[:, None, None]
  width = sizes[owner, 1][:, None, None]
  last = sizes[owner, :, None] - 1
  rows = [jnp.minimum(row + down, last[:, 0])[:, :, None] for down in (0, 1)]
  columns = [
    jnp.minimum(column + right, last[:, 1])[:, None] for right in (0, 1)
  ]
  # All four neighbours by one look-up, which takes a third of four's time.
  places = jnp.stack([base + y * width + x for y in rows for x in columns])
  packed = pixels.reshape(-1)[places]
  dx, dy = dx[:, None], dy[:, :, None]

  def channel(shift: int) -> Array:
    corners = ((packed >> shift) & 255).astype(jnp.float32)
    upper = (1 - dx) * corners[0] + dx * corners[1]
    lower = (1 - dx) * corners[2] + dx * corners[3]
    return ((1 - dy) * upper + dy * lower - 127.5) / 128

  inside = row_inside[:, :, None] & column_inside[:, None]
  patches = [jnp.where(inside, channel(shift), 0.0) for shift in (0, 8, 16)]
  return jnp.stack(patches, -1)


def map_present(
  function: Callable[[Array, Array], Array],
  boxes: Float[Array, "B P 4"],
  present: Bool[Array, "B P"],
  *,
  columns: int,
  at_once: int,
) -> Float[Array, "B P C"]:
  """Calls a function on the boxes that are present, and on no others.

  Args:
    function: Takes photos `[at_once]` and boxes `[at_once, 4]`, gives
      `[at_once, columns]`.
    boxes: `[B, P, 4]`.
    present: Which to look at, `[B, P]`; the time goes with their number.
    columns: C.
    at_once: How many boxes go into one call.

  Returns:
    `[B, P, C]`, zeros where no box is present.
  """
  batch, per_photo = present.shape
  count = batch * per_photo
  chunks = -(-count // at_once)
  (chosen,) = jnp.nonzero(
    present.reshape(-1), size=chunks * at_once, fill_value=count
  )
  flat = boxes.reshape(count, 4)
  total = jnp.sum(present)

  def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
    start, results = state
    places = lax.dynamic_slice(chosen, (start,), (at_once,))
    known = jnp.minimum(places, count - 1)
    made = function(known // per_photo, flat[known])
    return start + at_once, results.at[places].set(made, mode="drop")

  start = jnp.zeros((), chosen.dtype)
  empty = jnp.zeros((count, columns), jnp.float32)
  _, results = jax.lax.while_loop(
    lambda state: state[0] < total, step, (start, empty)
  )
  return results.reshape(batch, per_photo, columns)


def _positions(
  ends: Array, side: Array, size: int
) -> tuple[Array, Array, Array]:
  """Whole pixel, fraction, and whether it is inside, `[P, size]` each."""
  side = side[:, None].astype(jnp.float32)
  ends = ends * ((side - 1) / side)
  step = (ends[:, 1:] - ends[:, :1]) / (size - 1)
  place = ends[:, :1] + step * jnp.arange(size, dtype=jnp.float32)[None]
  inside = (place >= 0) & (place <= side - 1)
  place = jnp.clip(place, 0, side - 1)
  whole = jnp.floor(place)
  return whole.astype(jnp.int32), place - whole, inside
