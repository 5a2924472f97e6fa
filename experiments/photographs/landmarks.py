"""The landmarks of faces that were found in photographs, in their crops."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
import numpy as np

from data_prep.faces.found_faces import FoundFace

_LEAST_LANDMARKS = 8


def crop_landmarks(
  faces: Sequence[FoundFace],
) -> tuple[Float[np.ndarray, "N 68 2"], Float[np.ndarray, "N 68"]]:
  """Landmarks in crop pixels (zeros where none) and their visibility."""
  points = np.zeros((len(faces), 68, 2), np.float32)
  for row, face in enumerate(faces):
    if face.landmarks is not None:
      points[row] = crop_points(face, face.landmarks)
  return points, np.stack([face.visibility for face in faces])


def crop_points(
  face: FoundFace, points: Float[np.ndarray, "P 2"]
) -> Float[np.ndarray, "P 2"]:
  """Points of the photo in pixels of the face's crop."""
  matrix = face.crop_from_photo
  return points @ matrix[:, :2].T + matrix[None, :, 2]


def has_landmarks(faces: Sequence[FoundFace]) -> Bool[np.ndarray, "N"]:
  """Whether enough landmarks are visible to say how the head is turned."""
  return np.array(
    [np.sum(face.visibility > 0) >= _LEAST_LANDMARKS for face in faces], bool
  )


def camera_source(face: FoundFace) -> str | None:
  """What a face's camera comes from; None where there is nothing."""
  if has_landmarks([face])[0]:
    return "68 landmarks"
  return None if face.five_points is None else "five points"
