"""Photographs that everybody has: scikit-image's astronaut (extra `test`)."""

import numpy as np

# Her head and shoulders; the face is about as large in CASIA-WebFace.
_HEAD = (slice(0, 250), slice(100, 350))


def astronauts(count: int, *, head_only: bool = False) -> list[np.ndarray]:
  """The photo, moved and mirrored each time in another way.

  Args:
    count: How many.
    head_only: 250 x 250 pixels around her head, in place of 512 x 512.

  Returns:
    RGB, uint8, `[512, 512, 3]` or `[250, 250, 3]` each.
  """
  # A benchmark on one's own photos needs none.
  import skimage

  image = skimage.data.astronaut()
  if head_only:
    image = image[_HEAD]
  return [
    np.roll(image[:, :: 1 - 2 * (i % 2)], 3 * (i % 16), axis=(0, 1))
    for i in range(count)
  ]
