"""A picture of a morphable model's landmarks, to be looked at.

Numbers are iBUG's, from 0. No check can tell that a list belongs to another
mesh as well as a glance at the eyelids does.
"""

from jaxtyping import UInt8
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.geometry import project
from disentangle3d.reporting.figures import GREY, overlay_mesh, portrait_camera
from disentangle3d.reporting.pictures import contact_sheet, draw_landmarks
from disentangle3d.types import NUM_LANDMARKS

_YAWS_DEGREES = (0, 75, -75)
# How far beyond the middle a landmark is still drawn from the side.
_OVERLAP_MM = 3.0
# A view's side over the landmarks' extent: necks and napes are cut off.
_MARGIN = 1.25


def draw_model_landmarks(
  model: MorphableModel, *, size_px: int = 1000
) -> UInt8[np.ndarray, "H W 3"]:
  """The mean face from the front and both sides, its landmarks numbered.

  Args:
    model: A model with at least two landmarks.
    size_px: Height and width of each view.

  Returns:
    Three views in a row, RGB; from a side, the landmarks of that side.
  """
  vertices = np.asarray(model.landmark_vertices)
  known = np.flatnonzero(vertices >= 0)
  points = np.asarray(model.mean_shape)[vertices[known]]
  middle = np.median(points[:, 0])
  white = np.full((size_px, size_px, 3), 255, np.uint8)
  views = []
  for degrees in _YAWS_DEGREES:
    camera = portrait_camera(
      points[None],
      yaw_rad=float(np.deg2rad(degrees)),
      size_px=size_px,
      extent_mm=_MARGIN * float(np.ptp(points, axis=0).max()),
    )
    picture = overlay_mesh(
      white,
      model.mean_shape,
      model.triangles,
      camera,
      upscale=1,
      opacity=1.0,
      color=GREY,
    )
    near = np.sign(degrees) * (points[:, 0] - middle) <= _OVERLAP_MM
    views.append(
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
  return contact_sheet(views, columns=3, labels=titles, font_px=24)
