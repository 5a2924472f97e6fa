"""Known faces under known cameras, and their landmarks."""

import dataclasses

import numpy as np

from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_points,
  synthesize_shape,
)
from disentangle3d.geometry import Camera, project, rotation_from_euler


@dataclasses.dataclass(frozen=True, eq=False)
class KnownFaces:
  """S subjects in N images: the truth, and what a fitter gets to see."""

  identity: np.ndarray
  expression: np.ndarray
  camera: Camera
  points: np.ndarray
  landmarks: np.ndarray
  visibility: np.ndarray


def known_faces(
  model: MorphableModel,
  num_subjects: int,
  num_images: int,
  *,
  noise_px: float = 0.0,
  hidden: float = 0.0,
  seed: int = 0,
) -> KnownFaces:
  """Draws coefficients, cameras (yaw up to 70 degrees), noise, visibility."""
  rng = np.random.default_rng(seed)
  batch = (num_subjects, num_images)
  identity = rng.normal(size=(num_subjects, model.identity_dim))
  expression = rng.normal(size=(*batch, model.expression_dim))
  identity, expression = identity.astype("f"), expression.astype("f")
  yaw, pitch, roll = (
    rng.uniform(-most, most, batch).astype("f") for most in (1.2, 0.3, 0.3)
  )
  camera = Camera(
    scale=rng.uniform(0.38, 0.46, batch).astype("f"),
    rotation=np.asarray(rotation_from_euler(yaw, pitch, roll)),
    translation=(rng.normal(size=(*batch, 2)) + [48, 60]).astype("f"),
  )
  points = landmark_points(
    model,
    synthesize_shape(
      model, np.repeat(identity[:, None], num_images, 1), expression
    ),
  )
  landmarks = np.asarray(project(camera, points))
  landmarks = landmarks + noise_px * rng.normal(size=landmarks.shape)
  return KnownFaces(
    identity=identity,
    expression=expression,
    camera=camera,
    points=np.asarray(points),
    landmarks=landmarks.astype("f"),
    visibility=(rng.random((*batch, 68)) >= hidden).astype("f"),
  )
