"""Photographs before and after training on them."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8
import numpy as np

from disentangle3d.evaluation.pair_plans import draw_pairs, plan_pairs
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_mask,
  landmark_points,
  synthesize_shape,
)
from disentangle3d.geometry import Camera, project
from disentangle3d.inference import reconstruct
from disentangle3d.reporting.figures import overlay_mesh
from disentangle3d.reporting.html_page import (
  Block,
  Paragraph,
  Picture,
  Section,
  Table,
  page,
)
from disentangle3d.reporting.pictures import contact_sheet
from disentangle3d.training.export import Network
from disentangle3d.training.input_pipeline import decode_image
from experiments.configs.default import PHASES
from experiments.measures.verification import measure_faces
from experiments.pages.faces import Face, face_pictures, face_row, loss_figures
from experiments.pages.verification import face_sections
from experiments.sets.faces import FaceSet

_ROWS_SHOWN, _OVERLAYS_SHOWN = 6, 60


@dataclasses.dataclass(frozen=True, eq=False)
class Photographs:
  """P aligned photographs with their landmark fits, on the host.

  Attributes:
    images: Crops, `[P, 112, 96, 3]` uint8.
    people: Who is in each, `[P]` int32.
    image_ids: Their names, P of them.
    landmarks: Crop pixels, `[P, 68, 2]`.
    visibility: `[P, 68]`.
    camera: Of the fit, batch dimensions `[P]`.
    identity_coefficients: `[P, I]`.
    fits: Fitted shapes, `[P, V, 3]`, mm.
  """

  images: UInt8[np.ndarray, "P 112 96 3"]
  people: np.ndarray
  image_ids: list[str]
  landmarks: Float[np.ndarray, "P 68 2"]
  visibility: Float[np.ndarray, "P 68"]
  camera: Camera
  identity_coefficients: Float[np.ndarray, "P I"]
  fits: Float[np.ndarray, "P V 3"]


def photographs_of(
  records: Sequence[Mapping[str, Any]], model: MorphableModel
) -> Photographs:
  """Decodes records and synthesises their fits."""

  def stack(name: str) -> np.ndarray:
    return np.stack([np.asarray(record[name]) for record in records])

  subjects = [record["subject"] for record in records]
  alpha = stack("identity_coefficients")
  beta = stack("expression_coefficients")
  fits = synthesize_shape(model, jnp.asarray(alpha), jnp.asarray(beta))
  return Photographs(
    images=np.stack([decode_image(record["image"]) for record in records]),
    people=np.unique(subjects, return_inverse=True)[1].astype(np.int32),
    image_ids=[record["image_id"] for record in records],
    landmarks=stack("landmarks"),
    visibility=stack("visibility"),
    camera=Camera(
      scale=stack("camera_scale"),
      rotation=stack("camera_rotation"),
      translation=stack("camera_translation"),
    ),
    identity_coefficients=alpha,
    fits=np.asarray(fits),
  )


def _fit_rmse_px(
  photos: Photographs, model: MorphableModel
) -> Float[np.ndarray, "P"]:
  """Root mean square distance of each fit's landmarks, crop pixels."""
  points = landmark_points(model, jnp.asarray(photos.fits))
  shown = np.asarray(project(jax.tree.map(jnp.asarray, photos.camera), points))
  weight = photos.visibility * np.asarray(landmark_mask(model))[None]
  square = np.sum((shown - photos.landmarks) ** 2, -1)
  return np.sqrt(np.sum(weight * square, -1) / np.sum(weight, -1))


def build_page(
  photos: Photographs,
  model: MorphableModel,
  networks: Mapping[str, Network],
  runs: Mapping[str, pathlib.Path],
) -> str:
  """The page; the last network is the one that is drawn."""
  network = list(networks.values())[-1]
  faces = FaceSet(
    name="people never trained on",
    images=photos.images,
    pairs=draw_pairs(photos.people, plan_pairs(photos.people)),
    people=photos.people,
  )
  errors = Table(
    ("", "RMSE (mm)"),
    [(name, None) for name in ("landmark fit", *networks)],
    caption="Photographs have no 3D truth, so there is nothing to measure.",
  )
  sections = [
    Section("Fits over the photographs", _overlays(photos, model)),
    Section("Reconstructions", _faces(photos, model, network)),
    *face_sections(measure_faces(faces, networks)),
    Section("3D error", [errors]),
    Section("Losses", loss_figures(runs, PHASES)),
  ]
  subtitle = f"{model.name}, {model.num_vertices:,} vertices"
  return page("disentangle3d on photographs", sections, subtitle=subtitle)


def _overlays(photos: Photographs, model: MorphableModel) -> list[Block]:
  triangles = np.asarray(model.triangles)
  pictures = [
    overlay_mesh(
      photos.images[row],
      photos.fits[row],
      triangles,
      _camera_of(photos, row),
      upscale=2,
    )
    for row in range(min(_OVERLAYS_SHOWN, len(photos.images)))
  ]
  error = _fit_rmse_px(photos, model)
  return [
    Paragraph(
      f"{len(photos.images)} photographs; landmarks are met within"
      f" {np.median(error):.2f} px in the median, {error.max():.2f} px at"
      " worst (root mean square a photo, crop pixels)."
    ),
    Picture(
      contact_sheet(pictures, columns=10), "Multi-image landmark fits, held out"
    ),
  ]


def _faces(
  photos: Photographs, model: MorphableModel, network: Network
) -> list[Block]:
  _, first = np.unique(photos.people, return_index=True)
  blocks: list[Block] = []
  for row in first[:_ROWS_SHOWN]:
    made = reconstruct(
      network.params, jnp.asarray(photos.images[row]), model=network.model
    )
    face = Face(
      title=photos.image_ids[row],
      image=photos.images[row],
      landmarks=photos.landmarks[row],
      visibility=photos.visibility[row],
      fit=photos.fits[row],
      fit_camera=_camera_of(photos, row),
      shape=np.asarray(made.shape),
      identity_shape=np.asarray(made.identity_shape),
    )
    blocks.append(face_row(face_pictures(face, model)))
  return blocks


def _camera_of(photos: Photographs, row: int) -> Camera:
  return jax.tree.map(lambda leaf: jnp.asarray(leaf[row]), photos.camera)
