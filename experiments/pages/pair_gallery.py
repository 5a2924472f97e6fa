"""Two photographs of each of some people, and what a network makes of them."""

from collections.abc import Sequence
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from data_prep.stages.rows import PhotoRow
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.fitting.calibration_choice import (
  calibrated_model,
  calibration_text,
)
from disentangle3d.inference import reconstruct
from disentangle3d.reporting.figures import overlay_mesh
from disentangle3d.reporting.galleries import Box, Cell, gallery
from disentangle3d.reporting.html_page import Picture, Section
from disentangle3d.training.export import Network
from experiments.pages.faces import camera_over, frontal_view
from experiments.sets.scans import crop_of

_COLUMNS = ("photo", "overlay", "full shape", "identity shape")


def pair_section(
  network: Network,
  name: str,
  pairs: Sequence[tuple[PhotoRow, PhotoRow]],
  *,
  landmark_calibration: str,
  size_px: int,
) -> Section:
  """Photo, overlay, full and identity shape of both photographs, a row a pair.

  Args:
    network: Whose shapes.
    name: As the caption prints it.
    pairs: Two aligned photographs of one person each, with landmarks.
    landmark_calibration: Of the overlays' cameras, as `calibrated_model`
      takes it.
    size_px: Side of every picture.
  """
  rows = [row for pair in pairs for row in pair]
  model = calibrated_model(
    network.mean_face(),
    landmark_calibration,
    detectors={row.detector for row in rows},
  )
  logging.info("landmark calibration: %s", calibration_text(model))
  crops = [crop_of(row) for row in rows]
  faces = jax.jit(reconstruct, static_argnames="model")(
    network.params,
    np.stack([crop["image"] for crop in crops]),
    model=network.model,
  )
  shapes, neutral = np.asarray(faces.shape), np.asarray(faces.identity_shape)
  cells = [
    _cells(crop, shapes[place], neutral[place], model)
    for place, crop in enumerate(crops)
  ]
  figure = gallery(
    [
      [*first, *second]
      for first, second in zip(cells[::2], cells[1::2], strict=True)
    ],
    row_labels=[first.subject.replace("_", " ") for first, _ in pairs],
    column_labels=_COLUMNS * 2,
    boxes=[
      Box((4 * k + 3, 4 * k + 4), "identity", "#D55E00") for k in range(2)
    ],
    cell_px=size_px,
  )
  own, others = identity_distances(neutral)
  caption = (
    f"Two photographs of {len(pairs)} people, by {name}. Identity shapes of one"
    f" person lie {own:.2f} mm apart, those of two people {others:.2f} mm"
    " (root mean square over vertices, median over pairs)"
  )
  picture = Picture(figure, caption, width_px=1400, is_photo=True)
  return Section("The same person twice", [picture])


def identity_distances(
  neutral: Float[np.ndarray, "N V 3"],
) -> tuple[float, float]:
  """How far identity shapes of one person are apart, and of two people.

  Args:
    neutral: mm; two of each person, one after the other.

  Returns:
    The medians of the root mean square distance; of one person alone the
    second is NaN.
  """
  flat = neutral.reshape(len(neutral), -1)
  apart = [
    np.sqrt(np.mean(np.square(flat - one), 1) * neutral.shape[2])
    for one in flat
  ]
  person = np.arange(len(flat)) // 2
  is_same = person[:, None] == person[None]
  is_other = ~np.eye(len(flat), dtype=bool)
  distances = np.stack(apart)
  own, others = distances[is_same & is_other], distances[~is_same]
  return float(np.median(own)), (
    float(np.median(others)) if others.size else float("nan")
  )


def _cells(
  crop: dict[str, Any],
  shape: Float[np.ndarray, "V 3"],
  neutral: Float[np.ndarray, "V 3"],
  model: MorphableModel,
) -> list[Cell]:
  camera = camera_over(
    shape,
    jnp.asarray(crop["landmarks"], jnp.float32),
    jnp.asarray(crop["visibility"], jnp.float32),
    model,
  )
  over = overlay_mesh(crop["image"], shape, np.asarray(model.triangles), camera)
  views = [frontal_view(one, camera.scale, model) for one in (shape, neutral)]
  return [crop["image"], over, *views]
