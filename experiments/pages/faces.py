"""Parts that the reports share: tables, loss curves, rows of faces."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8
import numpy as np

from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_mask,
  landmark_points,
)
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.geometry import Camera
from disentangle3d.reporting.charts import Series, loss_curves
from disentangle3d.reporting.figures import GREY, overlay_mesh
from disentangle3d.reporting.html_page import Block, Grid, Picture
from disentangle3d.reporting.pictures import draw_landmarks
from disentangle3d.training.run_files import read_metrics
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH

# Of the scale over the photo, whose crop cuts chin and forehead.
_FRONTAL_ZOOM = 0.85
# Where the landmarks' middle goes in a picture, of its width and height.
_MIDDLE = np.array([0.5, 0.57])
# The terms of each phase's loss, and the unit they are logged in.
_UNITS = {
  "latent": "squared distance over all latents",
  "reconstruction": "mm²",
  "identity_shape": "mm²",
  "residual_shape": "mm²",
  "identity_decoder": "mm²",
  "residual_decoder": "mm²",
  "identification": "nats",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
  """One photo, and the shapes that were made of it.

  Attributes:
    title: What to call it.
    image: The crop, `[112, 96, 3]` uint8.
    landmarks: In the crop, `[68, 2]`, pixels.
    visibility: `[68]`.
    fit: The shape of the landmark fit, `[V, 3]`, mm.
    fit_camera: The camera of the fit.
    shape: The network's full shape, `[V, 3]`, mm.
    identity_shape: The network's identity shape, `[V, 3]`, mm.
  """

  title: str
  image: UInt8[np.ndarray, "112 96 3"]
  landmarks: Float[np.ndarray, "68 2"]
  visibility: Float[np.ndarray, "68"]
  fit: Float[np.ndarray, "V 3"]
  fit_camera: Camera
  shape: Float[np.ndarray, "V 3"]
  identity_shape: Float[np.ndarray, "V 3"]


# Captions and pictures of one face.
FacePictures = Sequence[tuple[str, UInt8[np.ndarray, "H W 3"]]]

_estimate_camera = jax.jit(estimate_camera)


def face_row(pictures: FacePictures) -> Grid:
  """`face_pictures` as a block of a page."""
  return Grid(
    [Picture(image, text) for text, image in pictures], columns=len(pictures)
  )


def face_pictures(face: Face, model: MorphableModel) -> FacePictures:
  """Photo, fit over it, reconstruction over it, full and identity shape."""
  triangles = np.asarray(model.triangles)
  camera = camera_over(
    face.shape, jnp.asarray(face.landmarks), jnp.asarray(face.visibility), model
  )
  marked = draw_landmarks(
    face.image, face.landmarks, visibility=face.visibility
  )
  views = [
    frontal_view(shape, camera.scale, model)
    for shape in (face.shape, face.identity_shape)
  ]
  fitted = overlay_mesh(face.image, face.fit, triangles, face.fit_camera)
  made = overlay_mesh(face.image, face.shape, triangles, camera)
  return [
    (face.title, marked),
    ("landmark fit over the photo", fitted),
    ("network over the photo", made),
    ("network: full shape", views[0]),
    ("network: identity shape", views[1]),
  ]


def camera_over(
  shape: Float[np.ndarray, "V 3"],
  landmarks: Float[jax.Array, "68 2"],
  visibility: Float[jax.Array, "68"],
  model: MorphableModel,
) -> Camera:
  """The camera that lays a shape over a photo, by the photo's landmarks."""
  return _estimate_camera(
    landmark_points(model, jnp.asarray(shape)),
    landmarks,
    visibility * landmark_mask(model),
  )


def frontal_view(
  shape: Float[np.ndarray, "V 3"],
  scale: Array | np.ndarray,
  model: MorphableModel,
) -> UInt8[np.ndarray, "H W 3"]:
  """A shape from the front on white, in a picture as large as a photo's."""
  return overlay_mesh(
    np.full((IMAGE_HEIGHT, IMAGE_WIDTH, 3), 255, np.uint8),
    shape,
    np.asarray(model.triangles),
    frontal_camera(shape, scale, model),
    opacity=1,
    color=GREY,
  )


def frontal_camera(
  shape: Float[np.ndarray, "V 3"],
  scale: Array | np.ndarray,
  model: MorphableModel,
) -> Camera:
  """Shows a shape from the front, nearly at a photo's scale, in its crop.

  Args:
    shape: mm.
    scale: Of the photo's camera, crop pixels a mm.
    model: Whose landmarks place the shape.

  Returns:
    The camera, in the pixels of a crop.
  """
  marks = np.asarray(landmark_points(model, jnp.asarray(shape)))
  marks = marks[np.asarray(landmark_mask(model)) > 0]
  middle = (marks.min(0) + marks.max(0))[:2] / 2 * np.array([1, -1])
  place = _MIDDLE * np.array([IMAGE_WIDTH, IMAGE_HEIGHT]) - 0.5
  zoomed = _FRONTAL_ZOOM * scale
  return Camera(
    scale=zoomed,
    rotation=jnp.eye(3, dtype=jnp.float32),
    translation=jnp.asarray(place - zoomed * middle, jnp.float32),
  )


def loss_figures(
  workdirs: Mapping[str, pathlib.Path], phases: Sequence[str]
) -> list[Block]:
  """The logged loss terms, one chart a phase and unit.

  Args:
    workdirs: Runs to draw together, by name.
    phases: In order; those nobody ran are left out.
  """
  lines = {name: read_metrics(path) for name, path in workdirs.items()}
  pictures = []
  for phase in phases:
    by_unit: dict[str, dict[str, Series]] = {}
    for run, moments in lines.items():
      logged = [line for line in moments if line["phase"] == phase]
      for term, unit in _UNITS.items():
        points = [(m["step"], m[term]) for m in logged if term in m]
        if points:
          name = term if len(lines) == 1 else f"{term}, {run}"
          steps, values = zip(*points, strict=True)
          by_unit.setdefault(unit, {})[name] = Series(steps, values)
    for unit, series in by_unit.items():
      all_values = [value for line in series.values() for value in line.y]
      low, high = min(all_values), max(all_values)
      wide = low > 0 and high > 10 * low
      chart = loss_curves(series, unit=unit, title=phase, log_y=wide)
      text = f"{phase}: {', '.join(series)} against the step"
      pictures.append(Picture(chart, text))
  return [Grid(pictures)] if pictures else []
