"""Scans whose nearest shape is known: they are the model's own shapes."""

import functools

from absl.testing import absltest
import numpy as np
import trimesh

from disentangle3d.evaluation import scan_projection
from disentangle3d.evaluation.scan_projection import project_scan
from disentangle3d.evaluation.scans import make_scan, within_outline
from tests.evaluation.icp_test import _egg, _motion

_MODES = 4


@functools.cache
def _model():
  """An egg with smooth modes, its triangles and landmarks on the front."""
  mean, triangles = _egg()
  x, y, z = mean.T / 80
  bumps = [x * y, np.sin(3 * z + x), np.cos(4 * y) * z, np.sin(5 * x + 2 * y)]
  normal = trimesh.Trimesh(mean, triangles, process=False).vertex_normals
  basis = np.stack([3.0 * bump[:, None] * normal for bump in bumps], -1)
  # Rough, so that it matters which corner of a triangle is which.
  basis += np.random.default_rng(2).normal(size=basis.shape)
  front = np.flatnonzero((z > 0.2) & (np.abs(y) < 0.9))
  marks = np.random.default_rng(0).choice(front, 68, replace=False)
  return mean, basis, np.asarray(triangles), marks


def _scan(coefficients, noise_mm=0.0):
  """Other points of the model's surface, moved and grown; its front only."""
  mean, basis, triangles, marks = _model()
  shape = mean + basis @ coefficients
  points, faces = trimesh.remesh.subdivide(shape, triangles)
  rng = np.random.default_rng(1)
  outline = points[:, 2] > 15
  points = points + noise_mm * rng.normal(size=points.shape)
  motion = _motion(1.1)
  return make_scan(
    motion.apply(points), faces, motion.apply(shape[marks]), outline=outline
  )


class ProjectScanTest(absltest.TestCase):
  def test_a_shape_of_the_model_is_found_again(self):
    mean, basis, triangles, marks = _model()
    truth = np.array([1.5, -1.0, 0.8, 2.0])
    options = scan_projection.ScanProjectionOptions(
      point_std_mm=0.01, tolerance_mm=1e-6
    )
    found = project_scan(
      mean, basis, triangles, marks, _scan(truth), options=options
    )
    np.testing.assert_allclose(found.coefficients, truth, atol=0.02)
    self.assertAlmostEqual(found.motion.scale, 1.1, delta=1e-3)
    self.assertLess(found.rms_mm[-1], 0.02)
    self.assertTrue(found.converged)
    self.assertLess(len(found.rms_mm), 16)

  def test_outside_the_outline_nothing_counts(self):
    mean, basis, triangles, marks = _model()
    scan = _scan(np.array([1.5, -1.0, 0.8, 2.0]))
    hair = scan.surface.vertices + 30.0 * ~scan.outline[:, None]
    found = [
      project_scan(
        mean,
        basis,
        triangles,
        marks,
        make_scan(
          points, scan.surface.triangles, scan.landmarks, outline=scan.outline
        ),
      )
      for points in (scan.surface.vertices, hair)
    ]
    np.testing.assert_array_equal(found[0].rms_mm, found[1].rms_mm)

  def test_the_distance_falls_and_outliers_do_not_count(self):
    mean, basis, triangles, marks = _model()
    truth = np.array([1.5, -1.0, 0.8, 2.0])
    scan = _scan(truth, noise_mm=0.1)
    lock = within_outline(scan, 95.0) & (scan.surface.vertices[:, 0] > 65)
    self.assertBetween(lock[scan.outline].mean(), 0.02, 0.09)
    points = scan.surface.vertices + 12.0 * lock[:, None] * [0, 0, 1]
    haired = make_scan(
      points, scan.surface.triangles, scan.landmarks, outline=scan.outline
    )
    found = project_scan(mean, basis, triangles, marks, haired)
    np.testing.assert_allclose(found.coefficients, truth, atol=0.15)
    self.assertGreater(found.rms_mm[0], 10 * found.rms_mm[-1])
    all_points = scan_projection.ScanProjectionOptions(nearest_share=1.0)
    worse = project_scan(
      mean, basis, triangles, marks, haired, options=all_points
    )
    self.assertGreater(
      np.abs(worse.coefficients - truth).max(),
      3 * np.abs(found.coefficients - truth).max(),
    )

  def test_without_landmarks_it_says_so(self):
    mean, basis, triangles, _ = _model()
    with self.assertRaisesRegex(ValueError, "landmarks: .* got 0"):
      project_scan(
        mean, basis, triangles, np.full(68, -1), _scan(np.zeros(_MODES))
      )


if __name__ == "__main__":
  absltest.main()
