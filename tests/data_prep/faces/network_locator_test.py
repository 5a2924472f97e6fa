import dataclasses
import pathlib

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from data_prep.faces.landmark_looks import (
  box_of_points,
  first_matrix,
  second_matrix,
)
from data_prep.faces.locators import BatchLocator, LocatedFace, NoFaceError
from data_prep.faces.network_locator import NetworkLocator
from data_prep.stages.rows import PhotoRow
from disentangle3d.evaluation.landmark_scores import normalised_errors
from disentangle3d.faces.landmark_photos import render_landmark_photos
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.synthetic_world import synthetic_world
from disentangle3d.network.landmark_files import SHIPPED
from disentangle3d.network.landmark_network import CROP_PX
from disentangle3d.types import LANDMARK_MIRROR

# One more than the network looks at together.
COUNT = 17


def setUpModule():
  global LOCATOR, IMAGES, POINTS, YAW, FACES
  LOCATOR = NetworkLocator()
  model = procedural_face_model(
    num_vertices=1_500, identity_dim=8, expression_dim=4
  )
  world = synthetic_world(model, photos_per_person=2)
  photos = jax.device_get(
    jax.jit(render_landmark_photos)(world, 5, jnp.arange(COUNT))
  )
  IMAGES, POINTS = list(photos.image), photos.points[..., :2]
  YAW = np.abs(np.rad2deg(photos.yaw_rad))
  FACES = [
    face if isinstance(face, LocatedFace) else None
    for face in LOCATOR.locate_some(
      IMAGES, [_row(box_of_points(one)) for one in POINTS]
    )
  ]


def _row(box):
  return PhotoRow(pathlib.Path("1.png"), "a", "a/1.png", "ok", box=box)


def _mapped(matrix, points):
  return points @ matrix[:, :2].T + matrix[:, 2]


class MatricesTest(absltest.TestCase):
  def test_a_detectors_box_puts_the_points_in_the_middle(self):
    for points in POINTS:
      inside = _mapped(first_matrix(box_of_points(points)), points)
      low, high = inside.min(0), inside.max(0)
      np.testing.assert_allclose((low + high) / 2, (CROP_PX - 1) / 2, atol=0.1)
      self.assertAlmostEqual(
        float(np.sqrt(np.prod(high - low))), CROP_PX / 1.5, delta=0.1
      )

  def test_points_put_the_face_upright_in_the_middle(self):
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    for points in POINTS:
      inside = _mapped(second_matrix(points), points)
      again = _mapped(second_matrix(points @ turn.T), points @ turn.T)
      np.testing.assert_allclose(inside, again, atol=0.05)
      up = inside[27] - inside[8]
      self.assertAlmostEqual(float(up[0]), 0, delta=0.01)
      self.assertLess(up[1], 0)
      middle = (inside.min(0) + inside.max(0)) / 2
      np.testing.assert_allclose(middle, (CROP_PX - 1) / 2, atol=0.05)


class NetworkLocatorTest(absltest.TestCase):
  def test_what_ships_is_small_and_has_a_card(self):
    self.assertLess(SHIPPED.stat().st_size, 6e6)
    self.assertTrue(SHIPPED.with_suffix(".md").is_file())

  def test_it_finds_faces_of_another_model_at_every_yaw(self):
    found = [face is not None for face in FACES]
    self.assertGreaterEqual(sum(found), 0.75 * COUNT)
    landmarks = np.stack([face.landmarks for face in FACES if face])
    errors = normalised_errors(landmarks, POINTS[found])
    self.assertLess(np.median(errors), 10)
    self.assertLess(np.median(errors[YAW[found] > 45]), 12)

  def test_what_is_unsure_is_farther_off(self):
    pairs = [
      (face.spread, np.linalg.norm(face.landmarks - points, axis=-1))
      for face, points in zip(FACES, POINTS, strict=True)
      if face is not None
    ]
    spread, away = map(np.concatenate, zip(*pairs, strict=True))
    sure = spread < np.median(spread)
    self.assertGreater(away[~sure].mean(), 1.2 * away[sure].mean())

  def test_a_mirrored_photo_has_the_mirrored_landmarks(self):
    photo, box = IMAGES[0], box_of_points(POINTS[0])
    right = photo.shape[1] - 1
    mirrored_box = np.array([right - box[2], box[1], right - box[0], box[3]])
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    face = LOCATOR.locate(mirrored, _row(mirrored_box))
    back = face.landmarks * np.array([[-1, 1]]) + np.array([[right, 0]])
    np.testing.assert_allclose(
      back[LANDMARK_MIRROR], FACES[0].landmarks, atol=0.1
    )

  def test_faces_by_themselves_are_as_among_others(self):
    face = LOCATOR.locate(IMAGES[1], _row(box_of_points(POINTS[1])))
    np.testing.assert_allclose(face.landmarks, FACES[1].landmarks, atol=0.01)
    self.assertEqual(face.silhouette.shape, (17, 2))
    self.assertIn(face.visibility.min(), (0, 1))

  def test_where_no_face_is_it_says_so(self):
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    row = _row(np.array([20, 20, 70, 70], np.float32))
    with self.assertRaisesRegex(NoFaceError, "too unsure"):
      LOCATOR.locate(noise, row)
    with self.assertRaisesRegex(NoFaceError, "photo too small: 9 x 8 px"):
      LOCATOR.locate(noise[:8, :9], dataclasses.replace(row, box=None))

  def test_each_of_many_has_its_own_face_or_reason(self):
    self.assertIsInstance(LOCATOR, BatchLocator)
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    boxes = [box_of_points(points) for points in POINTS]
    found = LOCATOR.locate_some(
      [noise, *IMAGES, noise[:8]],
      [
        _row(np.array([20, 20, 70, 70], np.float32)),
        *map(_row, boxes),
        _row(boxes[0]),
      ],
    )
    self.assertIn("too unsure", str(found[0]))
    self.assertIn("photo too small", str(found[-1]))
    for one, face in zip(found[1:-1], FACES, strict=True):
      self.assertEqual(isinstance(one, LocatedFace), face is not None)
      if face is not None:
        np.testing.assert_allclose(one.landmarks, face.landmarks, atol=0.01)
    self.assertEmpty(LOCATOR.locate_some([], []))

  def test_missing_weights_are_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "gone.npz"):
      NetworkLocator("gone.npz")


if __name__ == "__main__":
  absltest.main()
