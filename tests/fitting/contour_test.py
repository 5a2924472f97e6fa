import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.morphable_model import synthesize_shape
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.fitting.camera import image_axes
from disentangle3d.fitting.contour import jaw_contour, visible_candidates
from disentangle3d.fitting.landmark_fitting import FitOptions, fit_landmarks
from disentangle3d.geometry import (
  Camera,
  align_similarity,
  apply_similarity,
  project,
  rotation_from_euler,
)
from tests.fixtures import random_morphable_model


@functools.cache
def _model():
  return procedural_face_model(
    num_vertices=3000, identity_dim=12, expression_dim=4
  )


def _axes(yaw_deg, pitch_deg=0.0, roll_deg=0.0):
  angles = np.radians(np.float32([yaw_deg, pitch_deg, roll_deg]))
  return image_axes(jnp.float32(0.45), rotation_from_euler(*angles))


class JawContourTest(absltest.TestCase):
  def test_curves_run_inwards_at_their_landmarks_height(self):
    model = _model()
    curves = jaw_contour(model, num_candidates=8)
    self.assertEqual(curves.shape, (17, 8))
    np.testing.assert_array_equal(curves[:, 0], model.landmark_vertices[:17])
    points = np.asarray(model.mean_shape)[curves]
    # A mesh of 3,000 vertices has edges of 4 mm.
    self.assertLess(np.ptp(points[..., 1], axis=1).max(), 6)
    side = np.sign(points[:, 0, 0])
    away = np.delete(points[..., 0] * side[:, None], 8, axis=0)
    self.assertTrue((np.diff(away, axis=1) < 0.5).all())
    share = away[:, -1] / away[:, 0]
    self.assertTrue(((share >= 0.4) & (share < 0.65)).all(), share)
    # To the front, not around the back of the head.
    self.assertTrue((np.diff(points[:8, [0, -1], 2], axis=1) > 0).all())

  def test_the_chin_stays_where_it_is(self):
    curves = jaw_contour(_model())
    np.testing.assert_array_equal(curves[8], curves[8, 0])

  def test_mirrored_landmarks_have_mirrored_curves(self):
    model = _model()
    curves = jaw_contour(model)
    mirrored = np.asarray(model.mean_shape)[curves[::-1]] * [-1, 1, 1]
    # Ties between vertices may fall either way.
    away = np.linalg.norm(np.asarray(model.mean_shape)[curves] - mirrored, 2, 2)
    self.assertLess(np.median(away), 1e-3)

  def test_a_landmark_that_the_model_lacks_has_no_curve(self):
    vertices = np.array(_model().landmark_vertices)
    vertices[3] = -1
    curves = jaw_contour(_model().replace(landmark_vertices=vertices))
    np.testing.assert_array_equal(curves[3], -1)
    self.assertTrue((np.delete(curves, 3, 0) >= 0).all())

  def test_bad_arguments_are_named(self):
    with self.assertRaisesRegex(ValueError, "num_candidates: expected"):
      jaw_contour(_model(), num_candidates=1)
    points = random_morphable_model()
    with self.assertRaisesRegex(ValueError, "model.triangles: expected"):
      jaw_contour(points.replace(triangles=np.zeros((0, 3), np.int32)))


class VisibleCandidatesTest(parameterized.TestCase):
  # On a cylinder of 70 mm each candidate lies a known angle forwards of the
  # side; what is outermost after a turn is the one turned to the side.
  def _cylinder(self):
    forward = np.radians(np.linspace(0, 70, 8))
    side = np.where(np.arange(17) < 8, -1.0, 1.0)
    points = np.stack(
      [
        side[:, None] * 70 * np.cos(forward)[None],
        np.repeat(np.linspace(40, -60, 17)[:, None], 8, 1),
        np.repeat(70 * np.sin(forward)[None], 17, 0),
      ]
    )
    return jnp.asarray(points, jnp.float32)

  @parameterized.parameters(-60, -31, -19, 9, 20, 40, 70)
  def test_the_far_side_takes_the_silhouette(self, yaw_deg):
    for roll_deg in (0, 25):
      chosen = visible_candidates(
        self._cylinder(), _axes(yaw_deg, 8.0, roll_deg)
      )
      np.testing.assert_array_equal(np.sum(chosen, -1), 1)
      place = np.argmax(chosen, -1)
      far = np.arange(17) >= 8 if yaw_deg > 0 else np.arange(17) < 8
      np.testing.assert_array_equal(place[~far], 0)
      # Candidates are 10 degrees apart.
      np.testing.assert_allclose(10 * place[far], abs(yaw_deg), atol=5.5)

  def test_a_frontal_view_keeps_the_landmarks(self):
    chosen = visible_candidates(self._cylinder(), _axes(0.0))
    np.testing.assert_array_equal(np.argmax(chosen, -1), 0)

  def test_batches(self):
    points = jnp.stack([self._cylinder()] * 2)
    axes = jnp.stack([_axes(30.0), _axes(-30.0)])
    both = visible_candidates(points, axes)
    np.testing.assert_array_equal(
      both[1], visible_candidates(points[1], axes[1])
    )

  def test_shapes_are_checked(self):
    with self.assertRaisesRegex(ValueError, "points: expected shape"):
      visible_candidates(jnp.zeros((3, 16, 8)), _axes(0.0))


def _silhouette(shape, camera, landmarks, contour):
  """Contour landmarks put on the outermost of all vertices at their height."""
  seen = np.asarray(project(camera, shape))
  moved = np.array(landmarks)
  yaw = np.arctan2(-camera.rotation[2, 0], camera.rotation[2, 2])
  for number in range(17):
    if number == 8 or (number - 8) * yaw < 0:
      continue
    here = shape[contour[number, 0]]
    level = (np.abs(shape[:, 1] - here[1]) < 3) & (shape[:, 0] * here[0] > 0)
    # What detectors report as jaw, not the nose.
    level &= np.abs(shape[:, 0]) > 0.4 * abs(here[0])
    rows = np.flatnonzero(level)
    outermost = rows[np.argmax(np.sign(here[0]) * seen[rows, 0])]
    moved[number] = seen[outermost]
  return moved


class FitTest(absltest.TestCase):
  def test_following_the_silhouette_mends_turned_faces(self):
    model = _model()
    contour = jaw_contour(model)
    rng = np.random.default_rng(0)
    yaw = np.radians(np.array([50, -50, 65, -65, 40, -40], np.float32))
    count = len(yaw)
    identity = rng.normal(size=(count, 12)).astype(np.float32)
    expression = rng.normal(size=(count, 4)).astype(np.float32)
    shapes = np.asarray(synthesize_shape(model, identity, expression))
    cameras = Camera(
      np.full(count, 0.45, np.float32),
      np.asarray(rotation_from_euler(yaw, 0 * yaw, 0 * yaw)),
      np.full((count, 2), 50, np.float32),
    )
    own = project(cameras, jnp.asarray(shapes[:, model.landmark_vertices]))
    landmarks = np.stack(
      [
        _silhouette(
          shapes[i],
          jax.tree.map(lambda leaf, i=i: leaf[i], cameras),
          np.asarray(own)[i],
          contour,
        )
        for i in range(count)
      ]
    )
    self.assertGreater(np.abs(landmarks - own).max(), 5)
    fit = jax.jit(
      functools.partial(
        fit_landmarks,
        options=FitOptions(landmark_std_px=0.3, max_iterations=20),
      )
    )
    errors = {}
    for slides in (True, False):
      result = fit(
        model,
        landmarks[:, None],
        np.ones((count, 1, 68), np.float32),
        contour=contour,
        visible_contour=np.full((count, 1), slides),
      )
      fitted = synthesize_shape(
        model,
        result.identity_coefficients,
        result.expression_coefficients[:, 0],
      )
      aligned = apply_similarity(fitted, *align_similarity(fitted, shapes))
      errors[slides] = np.sqrt(np.mean(np.sum((aligned - shapes) ** 2, -1), -1))
      # One candidate a landmark.
      np.testing.assert_allclose(result.landmark_weights, 1, atol=1e-6)
    self.assertLess(errors[True].mean(), 0.6 * errors[False].mean())


if __name__ == "__main__":
  absltest.main()
