"""A picture of a morphable model's landmarks, to be looked at.

Numbers are iBUG's, from 0. No check can tell that a list belongs to another
mesh as well as a glance at the eyelids does.
"""

from typing import Any

from jaxtyping import UInt8
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.geometry import project
from disentangle3d.reporting.figures import portrait_camera, render_shape
from disentangle3d.reporting.pictures import contact_sheet, draw_landmarks
from disentangle3d.types import NUM_LANDMARKS

_SIZE_PX = 1000
_YAWS_DEGREES = (0, 75, -75)
# How far beyond the middle a landmark is still drawn from the side.
_OVERLAP_MM = 3.0


def draw_model_landmarks(
  model: MorphableModel,
) -> UInt8[np.ndarray, "H W 3"]:
  """The mean face from the front and both sides, its landmarks numbered.

  Args:
    model: A model with at least one landmark.

  Returns:
    Three views in a row, RGB.
  """
  shape = np.asarray(model.mean_shape)
  vertices = np.asarray(model.landmark_vertices)
  known = np.flatnonzero(vertices >= 0)
  points = shape[vertices[known]]
  middle = np.median(points[:, 0])
  # The landmarks and some of the mesh around: necks and napes are cut off.
  extent = 1.25 * float(np.ptp(points, axis=0).max())
  shown = np.abs(shape - np.median(points, axis=0)).max(1) < extent / 2
  triangles = (np.cumsum(shown) - 1)[model.triangles]
  triangles = triangles[shown[model.triangles].all(1)].astype(np.int32)
  view: dict[str, Any] = {"size_px": _SIZE_PX, "extent_mm": extent}
  pictures = []
  for degrees in _YAWS_DEGREES:
    yaw = float(np.deg2rad(degrees))
    near = np.sign(degrees) * (points[:, 0] - middle) <= _OVERLAP_MM
    picture = render_shape(shape[shown], triangles, yaw_rad=yaw, **view)
    camera = portrait_camera(shape[shown][None], yaw_rad=yaw, **view)
    pictures.append(
      draw_landmarks(
        picture,
        np.asarray(project(camera, points[near])),
        labels=[str(number) for number in known[near]],
        upscale=1,
        radius_px=3.0,
      )
    )
  missing = NUM_LANDMARKS - known.size
  titles = [
    f"{model.name}: {known.size} landmarks"
    + (f", {missing} missing" if missing else ""),
    "turned to the image's right",
    "turned to the image's left",
  ]
  return contact_sheet(pictures, columns=3, labels=titles, font_px=24)
