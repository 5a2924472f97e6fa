"""Where a face comes to lie in the 112 x 96 crop that a network sees.

The similarity that brings points of the face onto those of a template, least
squares. SphereFace's has five points, as the paper; of a profile the two eyes
coincide and half of the crop is empty. `whole_face` takes all 68 landmarks, so
that jaw and profile lie in the crop as a frontal face does.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from disentangle3d.geometry import five_points, similarity_2d
from disentangle3d.types import CROP_TEMPLATE

_SIZE = 0.9
SPHEREFACE, WHOLE_FACE = TEMPLATES = ("sphereface", "whole_face")
# The iBUG-68 landmarks of ICT-FaceKit's mean face, about where dlib marks them
# (0.2 px or less from the calibration that ships; networks are trained on
# these), mirror-symmetric about the crop's middle, at `_SIZE` of what
# `CROP_TEMPLATE` gives it: pixels (x, y), 0-based.
# fmt: off
LANDMARK_TEMPLATE = np.array(
  [
    [10.1, 49.5], [10.8, 59.3], [12.3, 68.8], [14.0, 78.2],
    [16.8, 86.9], [21.9, 94.3], [29.1, 99.9], [37.7, 103.8],
    [47.5, 105.0], [57.3, 103.8], [65.9, 99.9], [73.1, 94.3],
    [78.2, 86.9], [81.0, 78.2], [82.7, 68.8], [84.2, 59.3],
    [84.9, 49.5], [16.4, 39.2], [20.9, 33.6], [27.6, 31.4],
    [34.6, 31.8], [41.5, 34.2], [53.5, 34.2], [60.4, 31.8],
    [67.4, 31.4], [74.1, 33.6], [78.6, 39.2], [47.5, 42.1],
    [47.5, 47.9], [47.5, 53.5], [47.5, 59.5], [40.8, 65.7],
    [44.0, 66.6], [47.5, 67.4], [51.0, 66.6], [54.2, 65.7],
    [24.5, 45.2], [28.5, 42.1], [33.5, 42.1], [37.8, 45.5],
    [33.3, 46.6], [28.3, 46.8], [57.2, 45.5], [61.5, 42.1],
    [66.5, 42.1], [70.5, 45.2], [66.7, 46.8], [61.7, 46.6],
    [34.2, 80.4], [39.2, 76.6], [44.0, 74.6], [47.5, 75.5],
    [51.0, 74.6], [55.8, 76.6], [60.8, 80.4], [55.9, 83.1],
    [51.2, 84.2], [47.5, 84.4], [43.8, 84.2], [39.1, 83.1],
    [36.6, 80.3], [44.0, 78.9], [47.5, 79.0], [51.0, 78.9],
    [58.4, 80.3], [51.0, 79.1], [47.5, 79.4], [44.0, 79.1],
  ],
  np.float32,
)
# fmt: on


def template_points(template: str) -> Float[np.ndarray, "P 2"]:
  """The points of one of `TEMPLATES`, crop pixels, P of 5 or 68."""
  return CROP_TEMPLATE if template == SPHEREFACE else LANDMARK_TEMPLATE


def template_scale(template: str) -> float:
  """How large a template has a frontal face, SphereFace's being 1."""
  return 1.0 if template == SPHEREFACE else _SIZE


def aligned_points(
  landmarks: Float[Array | np.ndarray, "*B 68 D"], template: str
) -> Float[Array, "*B P D"]:
  """What of iBUG-68 goes onto `template_points`."""
  if template == SPHEREFACE:
    return five_points(landmarks)
  return jnp.asarray(landmarks)


def crop_from_landmarks(
  landmarks: Float[Array, "*B 68 2"], template: str
) -> Float[Array, "*B 2 3"]:
  """`crop_from_photo` of faces.

  Args:
    landmarks: iBUG landmarks, pixels of the photo, `[*B, 68, 2]`.
    template: One of `TEMPLATES`.

  Returns:
    crop = matrix [x, y, 1], `[*B, 2, 3]`.
  """
  source = aligned_points(landmarks, template)
  target = jnp.asarray(template_points(template))
  return similarity_2d(source, jnp.broadcast_to(target, source.shape))
