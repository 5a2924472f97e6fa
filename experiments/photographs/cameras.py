"""Cameras of faces in photographs, by their shapes and landmarks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array
import numpy as np

from data_prep.faces.found_faces import FoundFace
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_mask,
  landmark_points,
)
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.geometry import (
  Camera,
  five_points,
  invert_affine,
  project,
  similarity_2d,
  transform_camera,
)
from disentangle3d.types import CROP_TEMPLATE
from experiments.photographs.landmarks import (
  camera_source,
  crop_landmarks,
  crop_points,
  has_landmarks,
)
from experiments.photographs.shapes import Codes, FaceMaker, batch_rows


def photo_cameras(
  maker: FaceMaker, codes: Codes, faces: Sequence[FoundFace]
) -> Camera:
  """Cameras in photo pixels, by `camera_source`; by nothing, the front.

  Args:
    maker: The method.
    codes: Of the faces.
    faces: N of them.

  Returns:
    Cameras, `[N]`, host arrays.
  """
  landmarks, visibility = crop_landmarks(faces)
  five = np.zeros((len(faces), 5, 2), np.float32)
  for row, face in enumerate(faces):
    if face.five_points is not None:
      five[row] = crop_points(face, face.five_points)
  known = np.array([camera_source(face) is not None for face in faces])
  parts = []
  for rows in batch_rows(len(faces)):
    shape, _ = maker.decode(codes.identity[rows], codes.residual[rows])
    cameras = _photo_cameras(
      maker.mean_face,
      shape,
      landmarks[rows],
      visibility[rows],
      five[rows],
      has_landmarks(faces[rows]),
      known[rows],
      np.stack([face.crop_from_photo for face in faces[rows]]),
    )
    parts.append(jax.device_get(cameras))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@jax.jit
def _photo_cameras(
  mean_face: MorphableModel,
  shape: Array,
  landmarks: Array,
  visibility: Array,
  five: Array,
  many: Array,
  known: Array,
  crop_from_photo: Array,
) -> Camera:
  """Cameras of landmarks in crops, or of five points, in photo pixels."""
  points = landmark_points(mean_face, shape)
  by_landmarks = estimate_camera(
    points, landmarks, visibility * landmark_mask(mean_face)[None]
  )
  by_five = estimate_camera(
    five_points(points), five, jnp.ones(five.shape[:2], jnp.float32)
  )
  batch = len(points)
  plain = Camera(
    scale=jnp.ones(batch, jnp.float32),
    rotation=jnp.broadcast_to(
      jnp.eye(3, dtype=jnp.float32)[None], (batch, 3, 3)
    ),
    translation=jnp.zeros((batch, 2), jnp.float32),
  )
  template = jnp.broadcast_to(jnp.asarray(CROP_TEMPLATE)[None], (batch, 5, 2))
  front = transform_camera(
    plain, similarity_2d(five_points(project(plain, points)), template)
  )

  def choose(where: Array, one: Camera, other: Camera) -> Camera:
    return jax.tree.map(
      lambda a, b: jnp.where(where.reshape(-1, *(1,) * (a.ndim - 1)), a, b),
      one,
      other,
    )

  found = choose(many, by_landmarks, choose(known, by_five, front))
  return transform_camera(found, invert_affine(crop_from_photo))
