"""Which photographs show a face at rest, by its landmarks alone."""

from jaxtyping import Bool
import numpy as np

from disentangle3d.fitting.batched_fitting import FitModel
from disentangle3d.fitting.linear_faces import (
  SLIDING_YAW_RAD,
  PhotographedFaces,
  estimated_shapes,
  known_points,
)

_OUTER_EYES = [36, 45]
_MOUTH_CORNERS = [48, 54]
_INNER_LIPS = [62, 66]


def faces_at_rest(
  model: FitModel, faces: PhotographedFaces, *, share: float = 1 / 8
) -> Bool[np.ndarray, "M"]:
  """Of each person's photos those with the narrowest and most closed mouth.

  Mouths grow wider and open as faces move, whatever their width at rest is; so
  a person's photos are compared with each other alone, frontal ones and turned
  ones apart.

  Args:
    model: Of the fits.
    faces: Photos with a fit of each.
    share: Of a person's photos, rounded up.

  Returns:
    Which are at rest, `[M]`; all where the model has no mouth or eyes.
  """
  marks = [*_OUTER_EYES, *_MOUTH_CORNERS, *_INNER_LIPS]
  if not known_points(model)[marks].all():
    return np.ones(len(faces.scale), bool)
  shapes = estimated_shapes(model, faces)[:, marks]
  eyes, width, gap = (
    np.linalg.norm(shapes[:, first] - shapes[:, first + 1], axis=-1)
    for first in (0, 2, 4)
  )
  moved = (width + gap) / eyes
  turned = np.abs(faces.yaw_rad) > SLIDING_YAW_RAD
  found = np.zeros(len(moved), bool)
  groups = np.unique(
    np.stack([faces.subjects, turned], 1), axis=0, return_inverse=True
  )[1].ravel()
  for number in range(groups.max() + 1):
    photos = np.flatnonzero(groups == number)
    count = int(np.ceil(share * len(photos) - 1e-9))
    found[photos[np.argsort(moved[photos], kind="stable")[:count]]] = True
  return found
