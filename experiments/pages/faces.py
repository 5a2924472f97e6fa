"""Parts that the reports share: tables, loss curves, rows of faces."""

from collections.abc import Mapping, Sequence
import pathlib

import jax
import jax.numpy as jnp
from jaxtyping import UInt8
import numpy as np

from disentangle3d.evaluation.code_scores import CodeScores
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_mask,
  landmark_points,
)
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.reporting.charts import Series, loss_curves
from disentangle3d.reporting.figures import overlay_mesh, render_shape
from disentangle3d.reporting.html_page import (
  Block,
  Grid,
  Picture,
)
from disentangle3d.reporting.pictures import draw_landmarks
from disentangle3d.reporting.roc_charts import roc_curves
from disentangle3d.training.run_files import read_metrics
from experiments.measures.demo import Face

# The terms of each phase's loss, and the unit they are logged in.
_UNITS = {
  "latent": "squared distance over all latents",
  "reconstruction": "mm²",
  "identity_shape": "mm²",
  "identity_decoder": "mm²",
  "residual_decoder": "mm²",
  "identification": "nats",
}
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
  camera = _estimate_camera(
    landmark_points(model, jnp.asarray(face.shape)),
    jnp.asarray(face.landmarks),
    jnp.asarray(face.visibility) * landmark_mask(model),
  )
  marked = draw_landmarks(
    face.image, face.landmarks, visibility=face.visibility
  )
  views = render_shape(
    np.stack([face.shape, face.identity_shape]), triangles, size_px=320
  )
  fitted = overlay_mesh(face.image, face.fit, triangles, face.fit_camera)
  made = overlay_mesh(face.image, face.shape, triangles, camera)
  return [
    (face.title, marked),
    ("landmark fit over the photo", fitted),
    ("network over the photo", made),
    ("network: full shape", views[0]),
    ("network: identity shape", views[1]),
  ]


def roc_figure(rows: Mapping[str, CodeScores], *, title: str) -> Picture:
  """The ROC curves of all rows."""
  curves = {name: scored.result.roc for name, scored in rows.items()}
  return Picture(roc_curves(curves, title=title), title)


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
      values = [value for line in series.values() for value in line.y]
      wide = min(values) > 0 and max(values) > 10 * min(values)
      chart = loss_curves(series, unit=unit, title=phase, log_y=wide)
      pictures.append(Picture(chart, f"{phase}: loss against the step"))
  return [Grid(pictures)] if pictures else []
