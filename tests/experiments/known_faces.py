"""Photos whose faces and cameras are known; runs on them that are killed."""

import contextlib
import json
import os
import pathlib
from unittest import mock

import jax.numpy as jnp
import numpy as np
from PIL import Image

from data_prep.faces.found_faces import FoundFace
from data_prep.photos.crops import crop_matrix, warp_crop
from disentangle3d.geometry import Camera, five_points, rotation_from_euler
from experiments.photographs.lines import Lines

SIZE = (300, 340)


def camera_of(number):
  yaw, pitch, roll = 0.2 - 0.1 * number, 0.1, 0.05 * number
  return Camera(
    scale=jnp.float32(1.1 + 0.1 * number),
    rotation=rotation_from_euler(
      jnp.float32(yaw), jnp.float32(pitch), jnp.float32(roll)
    ),
    translation=jnp.asarray([160.0 + 10 * number, 150.0]),
  )


def gradient_photo(number=0):
  """Red is x / 2, green is y / 2, blue the photo's number."""
  y, x = np.mgrid[: SIZE[0], : SIZE[1]]
  blue = np.full(SIZE, 20 * number)
  return np.stack([x // 2, y // 2, blue], -1).astype(np.uint8)


def save(path, image):
  path.parent.mkdir(exist_ok=True)
  Image.fromarray(image).save(path)


def result_of(folder):
  return json.loads((folder / "face1" / "result.json").read_text())


class KnownFaces:
  """Stands where the detectors do: the photo's blue says which face it is."""

  precropped = False
  side = 640
  locator = "known"
  template = "sphereface"

  def __init__(self, landmarks, *, hidden=()):
    self.landmarks, self.hidden = landmarks, hidden

  def faces(self, photo):
    if photo.image is None:
      raise ValueError(photo.reason)
    if photo.image[0, 0, 2] > 200:
      raise ValueError("no face found")
    return [self.face(photo, int(photo.image[0, 0, 2]) // 20)]

  def face(self, photo, number, shift=0.0):
    points = self.landmarks[number] + np.float32([shift, 0])
    matrix = crop_matrix(np.asarray(five_points(jnp.asarray(points))))
    hide = number in self.hidden
    return FoundFace(
      crop=warp_crop(photo.image, matrix),
      crop_from_photo=matrix,
      box=np.array([*points.min(0), *points.max(0)], np.float32),
      score=0.5 if number else 1.0,
      landmarks=None if hide else points,
      visibility=np.full(68, 0 if hide else 1, np.float32),
    )


@contextlib.contextmanager
def killed_after(moments):
  """Ends what runs inside at one more finished file or line."""
  left = moments

  def count():
    nonlocal left
    left -= 1
    if left < 0:
      raise KeyboardInterrupt

  def rename(path, target):
    count()
    return os.rename(path, target)

  def append(lines, line):
    count()
    return appended(lines, line)

  appended = Lines.append
  with (
    mock.patch.object(pathlib.Path, "replace", rename),
    mock.patch.object(Lines, "append", append),
  ):
    yield


def content_of(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


class Crowd(KnownFaces):
  """Two people in every frame, 150 px apart; who comes first changes."""

  def faces(self, photo):
    frame = int(photo.image[0, 0, 2]) // 20
    people = [self.face(photo, 0, -80 + frame), self.face(photo, 1, 70 - frame)]
    return people[::-1] if frame == 1 else people
