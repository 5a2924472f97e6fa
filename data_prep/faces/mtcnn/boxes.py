"""What happens to MTCNN's boxes between the networks.

Boxes are x0, y0, x1, y1 in the photo's pixels. The suppression is the package
`mtcnn`'s: a box goes when any better one covers it, whether that one stays or
not; so nothing is sequential, and all pairs are looked at in one step.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def suppress(
  boxes: Float[Array, "B P 4"],
  present: Bool[Array, "B P"],
  *,
  most: float,
  over: Literal["union", "smaller"] = "union",
  group: Int[Array, "B P"] | None = None,
) -> Bool[Array, "B P"]:
  """Which boxes stay.

  Args:
    boxes: `[B, P, 4]`, the best first.
    present: Which there are, `[B, P]`.
    most: The intersection that is allowed, as a part of `over`.
    over: The area of the pair's union, or of its smaller box.
    group: Only boxes with equal numbers are compared, `[B, P]`; None: all.

  Returns:
    `[B, P]`; at most `present`.
  """
  # The better box of a pair runs along axis 1, the other along axis 2.
  better, other = boxes[:, :, None], boxes[:, None]
  width, height = (
    jnp.maximum(
      jnp.minimum(better[..., i + 2], other[..., i + 2])
      - jnp.maximum(better[..., i], other[..., i]),
      0.0,
    )
    for i in (0, 1)
  )
  shared = width * height
  area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
  if over == "union":
    whole = area[:, :, None] + area[:, None] - shared
  else:
    whole = jnp.minimum(area[:, :, None], area[:, None])
  place = jnp.arange(boxes.shape[1])
  covered = (
    (shared > most * whole)
    & (place[:, None] < place[None])[None]
    & present[:, :, None]
  )
  if group is not None:
    covered &= group[:, :, None] == group[:, None]
  return present & ~jnp.any(covered, axis=1)


def square(boxes: Float[Array, "... 4"]) -> Float[Array, "... 4"]:
  """The squares with the boxes' centres and longer sides."""
  corner, size = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
  side = jnp.max(size, axis=-1, keepdims=True)
  corner = corner + 0.5 * (size - side)
  return jnp.concatenate([corner, corner + side], -1)


def refine(
  boxes: Float[Array, "... 4"], offsets: Float[Array, "... 4"]
) -> Float[Array, "... 4"]:
  """Boxes moved by offsets in boxes; a box's last pixel belongs to it."""
  size = boxes[..., 2:] - boxes[..., :2] + 1
  return boxes + offsets * jnp.concatenate([size, size], -1)


def points_in_photo(
  boxes: Float[Array, "... 4"], points: Float[Array, "... 10"]
) -> Float[Array, "... 5 2"]:
  """Five points, given as five x and five y in boxes, in the photo."""
  size = boxes[..., 2:] - boxes[..., :2] + 1
  inside = points.reshape(*points.shape[:-1], 2, 5).swapaxes(-1, -2)
  return inside * size[..., None, :] + boxes[..., None, :2] - 1
