from absl.testing import absltest, parameterized
import numpy as np
import scipy.spatial.transform
import trimesh

from disentangle3d.evaluation import icp as icp_lib
from disentangle3d.evaluation import reconstruction, scans
from disentangle3d.evaluation import scan_protocols as protocols
from disentangle3d.evaluation.side_by_side import COLUMNS, side_by_side

NAMES = tuple(protocols.SCAN_PROTOCOLS)
# Where landmarks lie on the egg's front: groups at plausible places.
_PLACES = {
  range(0, 17): lambda t: (
    -0.9 + 1.8 * t,
    -0.2 - 0.65 * (1 - (2 * t - 1) ** 2),
  ),
  range(17, 27): lambda t: (-0.6 + 1.2 * t, 0.55),
  range(27, 31): lambda t: (0.0, 0.3 - 0.4 * t),
  range(31, 36): lambda t: (-0.15 + 0.3 * t, -0.15),
  range(36, 42): lambda t: (-0.5 + 0.3 * t, 0.35),
  range(42, 48): lambda t: (0.2 + 0.3 * t, 0.35),
  range(48, 68): lambda t: (-0.3 + 0.6 * t, -0.45),
}


def _face(subdivisions=4, seed=None):
  """An egg with bumps, and the vertices nearest to the landmarks' places."""
  ball = trimesh.creation.icosphere(subdivisions)
  points = np.array(ball.vertices)
  x, y, z = points.T
  radius = 1 + 0.1 * x * y + 0.05 * y**3 + 0.06 * np.sin(4 * z + x)
  radius += 0.25 * np.exp(-20 * (x**2 + (y + 0.1) ** 2)) * (z > 0)
  vertices = np.stack([70 * x, 95 * y, 80 * z], 1) * radius[:, None]
  if seed is not None:
    vertices += np.random.default_rng(seed).normal(size=vertices.shape)
  marks = []
  for group, place in _PLACES.items():
    for number, _ in enumerate(group):
      u, v = place(number / (len(group) - 1))
      w = np.sqrt(max(1 - u * u - v * v, 0))
      marks.append(np.argmin(np.sum((points - [u, v, w]) ** 2, 1)))
  return vertices, np.array(ball.faces), np.array(marks)


def _scan(subdivisions=4, seed=None):
  vertices, triangles, marks = _face(subdivisions, seed)
  return scans.make_scan(vertices, triangles, vertices[marks])


def _moved(scan, scale=1.0):
  turn = scipy.spatial.transform.Rotation.from_euler("xyz", [0.4, -0.7, 0.2])
  motion = icp_lib.Motion(scale, turn.as_matrix(), np.array([30.0, -9.0, 50]))
  return scans.make_scan(
    motion.apply(scan.surface.vertices),
    scan.surface.triangles,
    motion.apply(scan.landmarks),
  )


class ProtocolTest(parameterized.TestCase):
  @parameterized.parameters(*NAMES)
  def test_the_same_face_moved_has_no_error(self, name):
    scan = _scan()
    error = protocols.scan_error(_moved(scan), scan, protocol=name)
    self.assertLess(error.score_mm, 1e-6)
    self.assertBetween(error.inside.sum(), 300, 2400)

  @parameterized.parameters(*NAMES)
  def test_only_protocols_with_scale_forgive_a_wrong_size(self, name):
    scan = _scan()
    error = protocols.scan_error(_moved(scan, 1.1), scan, protocol=name)
    if protocols.SCAN_PROTOCOLS[name].with_scale:
      self.assertLess(error.score_mm, 1e-3)
    else:
      self.assertGreater(error.score_mm, 0.5)

  @parameterized.parameters(*NAMES)
  def test_moving_the_prediction_changes_nothing(self, name):
    scan, made = _scan(), _scan(seed=1)
    plain = protocols.scan_error(made, scan, protocol=name)
    moved = protocols.scan_error(_moved(made), scan, protocol=name)
    self.assertAlmostEqual(plain.score_mm, moved.score_mm, places=3)

  def test_another_topology_is_measured_to_its_surface(self):
    """Four times the triangles: the surface is near, the vertices are not."""
    coarse, fine = _scan(3), _scan(4)
    near = protocols.scan_error(coarse, fine, protocol="liu2018_rigid")
    vertex = protocols.scan_error(coarse, fine, protocol="liu2018_vertex")
    self.assertLess(near.score_mm, 1.5)
    self.assertGreater(vertex.score_mm, 2 * near.score_mm)
    refined = protocols.scan_error(coarse, fine, protocol="now_metrical")
    self.assertLess(refined.score_mm, near.score_mm)
    self.assertTrue(refined.icp.converged)
    self.assertIsNone(near.icp)

  def test_a_face_pushed_by_3_mm_in_a_corner_by_hand(self):
    """Rigid landmarks of the rest hold the face; a patch is 3 mm off."""
    vertices, triangles, marks = _face()
    scan = scans.make_scan(vertices, triangles, vertices[marks])
    far = np.linalg.norm(vertices - vertices[marks[30]], axis=1)
    patch = (far < 95) & (vertices[:, 1] > 62)
    self.assertFalse(patch[marks].any())
    pushed = vertices + 3 * patch[:, None] * [0, 1.0, 0]
    made = scans.make_scan(pushed, triangles, pushed[marks])
    error = protocols.scan_error(made, scan, protocol="liu2018_rigid")
    np.testing.assert_allclose(
      error.distance_mm[~patch & (far < 60)], 0, atol=1e-6
    )
    oracle = np.sqrt(np.mean(error.distance_mm[far <= 95] ** 2))
    self.assertAlmostEqual(error.score_mm, oracle)
    self.assertLess(error.distance_mm[patch].max(), 3 + 1e-6)

  def test_nows_mask_by_hand(self):
    """Bottom (0, -20, 90), bridge (0, 20, 70), outer eyes 90 mm apart."""
    marks = np.full((68, 3), np.nan)
    marks[[36, 39, 42, 45]] = [
      [-45, 20, 70],
      [-15, 20, 70],
      [15, 20, 70],
      [45, 20, 70],
    ]
    marks[33] = [0, -20, 90]
    centre = np.array([0, -8.0, 84])
    radius = 1.4 * (90 + np.sqrt(40**2 + 20**2)) / 2
    points = centre + np.array(
      [[radius - 0.1, 0, 0], [0, radius + 0.1, 0], [0, 0, 1]]
    )
    scan = scans.make_scan(points, np.array([[0, 1, 2]]), marks)
    np.testing.assert_array_equal(
      scans.now_mask(scan, 1.0), [True, False, True]
    )

  def test_regions_share_out_the_face(self):
    scan = _scan()
    inside = scans.around_nose(scan, 95.0)
    regions = scans.facial_regions(scan, inside)
    np.testing.assert_array_equal(np.sum(list(regions.values()), 0), inside)
    for name, number in (("nose", 30), ("mouth", 57), ("forehead", 20)):
      away = np.linalg.norm(
        scan.surface.vertices - scan.landmarks[number], axis=1
      )
      self.assertTrue(regions[name][away.argmin()], name)

  def test_pooled_distances_by_hand(self):
    motion = icp_lib.IDENTITY
    errors = [
      protocols.ScanError(0.0, np.array(d), np.array(i), motion, None)
      for d, i in (([1.0, 9.0], [True, False]), ([2.0, 6.0], [True, True]))
    ]
    pooled = protocols.pool_distances(errors)
    self.assertEqual((pooled.median, pooled.mean), (2.0, 3.0))
    self.assertAlmostEqual(pooled.std, np.std([1, 2, 6]))
    with self.assertRaisesRegex(ValueError, "errors: .*got none"):
      protocols.pool_distances([])

  def test_outside_the_outline_nothing_counts(self):
    made, truth = _scan(3, seed=1), _scan(3)
    points, faces = truth.surface.vertices, truth.surface.triangles
    outline = (points[:, 2] > 20) & (np.abs(points[:, 1]) < 60)
    hair = points + 40.0 * (~outline & (points[:, 1] > 0))[:, None]
    for name in protocols.OUTLINE_PROTOCOLS:
      errors = [
        protocols.scan_error(
          made,
          scans.make_scan(vertices, faces, truth.landmarks, outline=outline),
          protocol=name,
        )
        for vertices in (points, hair)
      ]
      self.assertEqual(errors[0].score_mm, errors[1].score_mm)
      self.assertEqual(errors[0].rmse_mm, errors[1].rmse_mm)
      inside = errors[0].distance_mm[outline]
      self.assertEqual(errors[0].score_mm, np.median(inside))
      self.assertAlmostEqual(errors[0].rmse_mm ** 2, np.mean(inside**2))
      with self.assertRaisesRegex(ValueError, "with an outline"):
        protocols.scan_error(made, truth, protocol=name)

  def test_together_protocols_say_what_they_say_alone(self):
    made, truth = _scan(3, seed=1), _scan(3)
    together = protocols.scan_errors(made, truth, NAMES)
    for name, error in zip(NAMES, together, strict=True):
      alone = protocols.scan_error(made, truth, protocol=name)
      self.assertEqual(error.score_mm, alone.score_mm, name)
    self.assertIs(
      together[NAMES.index("deng2019")].icp, together[NAMES.index("ganfit")].icp
    )

  def test_errors_name_the_argument(self):
    scan = _scan(3)
    with self.assertRaisesRegex(
      ValueError, "liu2018, .*outline_rigid, got 'x'"
    ):
      protocols.scan_error(scan, scan, protocol="x")
    with self.assertRaisesRegex(ValueError, "radius_mm: .* got 0"):
      protocols.scan_error(scan, scan, radius_mm=0)
    bare = scans.Scan(scan.surface, np.full((68, 3), np.nan))
    with self.assertRaisesRegex(ValueError, "3 or more of now's 7 .* got 0"):
      protocols.scan_error(scan, bare, protocol="now")


class SideBySideTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    truth, self.triangles, self.marks = _face(3)
    rng = np.random.default_rng(5)
    self.truth = np.stack([truth, 1.02 * truth]).astype(np.float32)
    noise = rng.normal(size=self.truth.shape).astype(np.float32)
    self.made = {"near": self.truth + noise, "far": self.truth + 3 * noise}

  def test_every_column_orders_the_methods_and_equals_shape_error(self):
    table = side_by_side(
      self.made,
      self.truth,
      landmark_vertices=self.marks,
      triangles=self.triangles,
      groups=np.arange(2),
    )
    known = [name for name in COLUMNS if not name.startswith("outline")]
    self.assertEqual(list(table.scores["near"]), known)
    for column in known:
      near, far = (table.scores[name][column] for name in ("near", "far"))
      self.assertEqual(near.shape, (2,))
      self.assertTrue((near < far).all(), column)
      interval = table.interval("near", column)
      self.assertAlmostEqual(interval.mean, near.mean())
    for protocol in ("deng2019", "ganfit", "now", "realy_like"):
      error = reconstruction.shape_error(
        self.made["far"],
        self.truth,
        landmark_vertices=self.marks,
        triangles=self.triangles,
        protocol=protocol,
      )
      np.testing.assert_allclose(
        error.score_mm, table.scores["far"][protocol], rtol=1e-5
      )
      self.assertEqual(error.distance_mm.shape, (2, 642))
    self.assertEqual(table.unconverged, {"near": 0, "far": 0})

  def test_a_method_of_another_topology_has_no_corresponding_vertices(self):
    other = scans.make_scan(
      self.truth[0], self.triangles[::-1], self.truth[0][self.marks]
    )
    table = side_by_side(
      {},
      self.truth,
      landmark_vertices=self.marks,
      triangles=self.triangles,
      others={"other": [other, None], "none": [None, None]},
    )
    scores = table.scores["other"]
    self.assertLess(scores["liu2018, nearest point"][0], 1e-5)
    self.assertTrue(np.isnan(scores["liu2018, nearest point"][1]))
    self.assertTrue(np.isnan(scores["liu2018, corresponding vertices"]).all())
    self.assertIsNone(table.interval("other", "the same, rigid"))
    self.assertLess(table.interval("other", "now").mean, 1e-5)
    self.assertIsNone(table.now["none"])

  def test_without_triangles_it_says_what_is_missing(self):
    with self.assertRaisesRegex(ValueError, "triangles: .*'now' needs"):
      reconstruction.shape_error(
        self.truth, self.truth, landmark_vertices=self.marks, protocol="now"
      )
    with self.assertRaisesRegex(ValueError, "predictions: .*got none"):
      side_by_side(
        {}, self.truth, landmark_vertices=self.marks, triangles=self.triangles
      )


if __name__ == "__main__":
  absltest.main()
