"""Landmarks of synthetic photos as a calibrated detector reports them."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces import synthetic, synthetic_landmarks
from disentangle3d.faces.landmark_calibration import (
  landmark_covariance,
  main_vertices,
)
from disentangle3d.faces.morphable_model import landmark_points
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.geometry import (
  euler_from_rotation,
  project,
  rotation_from_euler,
)
from tests.fixtures import random_calibration

_PHOTOS = 3000
_BATCH = 300


def setUpModule():
  global MODEL, CALIBRATION, WORLD
  MODEL = procedural_face_model(
    num_vertices=1_500, identity_dim=4, expression_dim=2
  )
  CALIBRATION = random_calibration(MODEL, noise_mm=1.0)
  WORLD = synthetic.synthetic_world(
    MODEL, jaw="fixed_vertices", detector=CALIBRATION
  )


@jax.jit
def _photographs(world, indices):
  """Cameras and landmarks of mean faces, without rendering."""
  person, place = jnp.divmod(indices, world.photos_per_person)
  _, by_photo, _ = synthetic.draw_numbers(world, 0, person, indices)
  shape = jnp.broadcast_to(
    jnp.asarray(world.model.mean_shape)[None], (len(indices), 1_500, 3)
  )
  return synthetic._photograph(world, shape, by_photo, place)[:2]


def _reported(world):
  """Many photos' cameras, and their landmarks less those without noise, mm."""
  batches = [
    _photographs(world, jnp.arange(start, start + _BATCH))
    for start in range(0, _PHOTOS, _BATCH)
  ]
  camera, found = jax.tree.map(lambda *rows: np.concatenate(rows), *batches)
  points = landmark_points(
    MODEL.replace(landmark_calibration=CALIBRATION), MODEL.mean_shape
  )
  points = jnp.broadcast_to(points[None], (_PHOTOS, 68, 3))
  away = np.asarray(found - project(camera, points), np.float64)
  return camera, away / camera.scale[:, None, None]


class DetectorTest(absltest.TestCase):
  def test_noise_has_the_mean_and_covariance_of_the_calibration(self):
    camera, away = _reported(WORLD)
    yaw, _, roll = (np.asarray(a) for a in euler_from_rotation(camera.rotation))
    expected = np.asarray(landmark_covariance(CALIBRATION, yaw, roll))
    root = np.linalg.cholesky(expected.astype(np.float64))
    white = np.linalg.solve(root, away[..., None])[..., 0]
    number = np.digitize(np.abs(yaw), CALIBRATION.yaw_edges_rad)
    for kind in range(3):
      for right in (False, True):
        kept = (number == kind) & ((yaw >= 0) == right)
        count = kept.sum()
        self.assertGreater(count, 150)
        mean = white[kept].mean(0)
        self.assertLess(np.abs(mean).max(), 4.5 / np.sqrt(count))
        covariance = np.einsum("nla,nlb->lab", white[kept], white[kept]) / count
        error = np.abs(covariance - np.eye(2)).max()
        self.assertLess(error, 4.5 * np.sqrt(2 / count))
        # Which is not that of other landmarks, or other turns.
        sizes = np.trace(expected[kept], axis1=-2, axis2=-1)
        self.assertGreater(np.ptp(sizes.mean(0)), 1.0)

  def test_noise_is_the_photo_s_not_the_person_s(self):
    _, away = _reported(WORLD)
    _, other = _reported(WORLD.replace(photos_per_person=3))
    np.testing.assert_allclose(away, other, atol=1e-3)

  def test_offsets_are_seen(self):
    sure = WORLD.model.replace(
      landmark_calibration=CALIBRATION.replace(
        covariance_mm2=1e-8 * CALIBRATION.covariance_mm2
      )
    )
    camera, away = _reported(WORLD.replace(model=sure))
    self.assertLess(np.abs(away).max(), 0.01)
    vertices = np.asarray(MODEL.mean_shape)[MODEL.landmark_vertices]
    flat = landmark_points(sure, MODEL.mean_shape) - vertices
    self.assertGreater(np.abs(flat).max(), 3)

  def test_without_covariances_the_noise_is_the_world_s(self):
    silent = CALIBRATION.replace(
      covariance_mm2=CALIBRATION.covariance_mm2[:0],
      yaw_edges_rad=CALIBRATION.yaw_edges_rad[:0],
    )
    world = WORLD.replace(
      model=WORLD.model.replace(landmark_calibration=silent),
      landmark_noise_px=1.5,
    )
    _, away = _reported(world)
    pixels = away * float(WORLD.nominal_scale)
    self.assertBetween(pixels.std(), 1.47, 1.53)

  def test_a_contour_that_slides_keeps_its_offset(self):
    model = MODEL.replace(landmark_calibration=CALIBRATION)
    contour = synthetic_landmarks.contour_candidates(model)
    fixed = np.asarray(main_vertices(CALIBRATION))
    np.testing.assert_array_equal(contour[:, 0], fixed[:17])
    yaw = jnp.deg2rad(jnp.asarray([0.0, 50.0]))
    rotation = rotation_from_euler(yaw, 0 * yaw, 0 * yaw)
    shape = jnp.tile(jnp.asarray(MODEL.mean_shape)[None], (2, 1, 1))
    vertices = synthetic_landmarks.photo_landmark_vertices(
      model, contour, shape, rotation
    )
    points = np.asarray(
      synthetic_landmarks.marked_points(model, vertices, shape)
    )
    calibrated = np.asarray(landmark_points(model, MODEL.mean_shape))
    np.testing.assert_allclose(points[0], calibrated, atol=1e-4)
    slid = np.asarray(vertices[1]) != fixed
    self.assertGreater(slid.sum(), 5)
    np.testing.assert_allclose(points[1, ~slid], calibrated[~slid], atol=1e-4)
    np.testing.assert_allclose(
      points[1] - MODEL.mean_shape[np.asarray(vertices[1])],
      calibrated - MODEL.mean_shape[fixed],
      atol=1e-4,
    )

  def test_a_world_s_detector_is_its_own(self):
    # What a model has stored says nothing of a world's photos.
    stored = MODEL.replace(landmark_calibration=CALIBRATION)
    world = synthetic.synthetic_world(stored)
    self.assertIsNone(world.model.landmark_calibration)
    corners = CALIBRATION.triangle_vertices.copy()
    corners[40] = -1
    lost = CALIBRATION.replace(triangle_vertices=corners)
    with self.assertRaisesRegex(ValueError, "landmarks 17 to 67, got -1"):
      synthetic.synthetic_world(MODEL, detector=lost)
    with self.assertRaisesRegex(ValueError, "indices from 0 to 1499"):
      synthetic.synthetic_world(
        MODEL, detector=CALIBRATION.replace(triangle_vertices=corners + 1500)
      )


if __name__ == "__main__":
  absltest.main()
