from absl.testing import absltest, parameterized
import numpy as np

from disentangle3d.faces.morphable_model import validate_morphable_model
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.types import LANDMARK_MIRROR

_SMALL = dict(num_vertices=1201, identity_dim=20, expression_dim=32)
_FLIP = np.array([-1, 1, 1], np.float32)


def _double_area(vertices, triangles):
  a, b, c = (vertices[triangles[:, i]] for i in range(3))
  return np.cross(b - a, c - a)


def _parity_error(model, basis):
  """How far each mode is from its best parity, and that parity."""
  mirrored = basis[model.mirror_vertices] * _FLIP[None, :, None]
  same = np.abs(mirrored - basis).max((0, 1))
  opposite = np.abs(mirrored + basis).max((0, 1))
  return np.minimum(same, opposite), np.where(same < opposite, 1, -1)


def _cycles(triangles):
  """Triangles as a set that keeps orientation but not the first corner."""
  return {tuple(np.roll(t, -int(np.argmin(t)))) for t in triangles.tolist()}


class MeanFaceTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = procedural_face_model(**_SMALL)

  @parameterized.parameters(500, 777, 1000, 1201, 4002)
  def test_has_exactly_the_asked_number_of_vertices(self, num_vertices):
    model = procedural_face_model(
      num_vertices=num_vertices, identity_dim=3, expression_dim=3
    )
    validate_morphable_model(model)
    self.assertEqual(model.num_vertices, num_vertices)
    self.assertLen(np.unique(model.landmark_vertices), 68)
    self.assertLen(np.unique(model.triangles), num_vertices)

  def test_full_size_is_valid_symmetric_and_of_plausible_size(self):
    model = procedural_face_model()
    validate_morphable_model(model)
    self.assertEqual(model.mean_shape.shape, (29_495, 3))
    self.assertEqual(model.identity_basis.shape, (29_495, 3, 199))
    self.assertEqual(model.expression_basis.shape, (29_495, 3, 29))
    self.assertEqual(model.licence, "Apache-2.0")
    area = np.linalg.norm(
      _double_area(model.mean_shape, model.triangles), axis=1
    )
    self.assertGreater(area.min(), 1e-4)
    np.testing.assert_array_equal(
      model.mean_shape[model.mirror_vertices] * _FLIP, model.mean_shape
    )
    rms = np.sqrt(np.sum(np.square(model.identity_basis), (1, 2)).mean())
    self.assertBetween(rms, 2.5, 4.5)
    p = model.mean_shape
    near_mouth = np.hypot(p[:, 0] / 30, (p[:, 1] + 40) / 25) < 1
    moved = np.sum(np.square(model.expression_basis[near_mouth]), (1, 2))
    self.assertBetween(np.sqrt(moved.mean()), 1.5, 4.5)
    points = p[model.landmark_vertices]
    self.assertBetween(np.linalg.norm(points[45] - points[36]), 85, 95)
    self.assertBetween(points[27, 1] - points[8, 1], 105, 130)
    self.assertBetween(points[30, 2] - points[33, 2], 8, 25)
    self.assertBetween(points[16, 0] - points[0, 0], 130, 155)

  def test_is_exactly_mirror_symmetric(self):
    model = self.model
    mirror = model.mirror_vertices
    np.testing.assert_array_equal(mirror[mirror], np.arange(model.num_vertices))
    np.testing.assert_array_equal(
      model.mean_shape[mirror] * _FLIP, model.mean_shape
    )
    # Mirroring turns triangles inside out: swapped back they are the same set.
    mirrored = mirror[model.triangles][:, [0, 2, 1]]
    self.assertEqual(_cycles(mirrored), _cycles(model.triangles))

  def test_triangles_face_outward_and_join_consistently(self):
    model = self.model
    normal = _double_area(model.mean_shape, model.triangles)
    centre = model.mean_shape[model.triangles].mean(1)
    outward = np.sum(normal * (centre - [0, 0, 10]), 1) > 0
    self.assertGreater(outward.mean(), 0.93)
    self.assertGreater(np.linalg.norm(normal, axis=1).min(), 1e-3)
    t = model.triangles
    edges = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
    self.assertLen(np.unique(edges, axis=0), len(edges))
    # One boundary loop: a disc has V - E + F = 1.
    undirected = np.unique(np.sort(edges, 1), axis=0)
    self.assertEqual(model.num_vertices - len(undirected) + len(t), 1)

  def test_landmarks_are_in_ibug_order(self):
    model = self.model
    vertices = model.landmark_vertices
    self.assertLen(np.unique(vertices), 68)
    np.testing.assert_array_equal(
      model.mirror_vertices[vertices], vertices[LANDMARK_MIRROR]
    )
    p = model.mean_shape[vertices]
    x, y, z = p.T
    for rising in (range(2, 15), range(17, 27), range(31, 36), range(48, 55)):
      self.assertTrue((np.diff(x[list(rising)]) > 0).all(), rising)
    np.testing.assert_array_equal(x[[8, 27, 28, 29, 30, 33, 51, 57, 62, 66]], 0)
    self.assertTrue((np.diff(y[:9]) < 0).all())
    self.assertTrue((np.diff(y[[8, 57, 51, 33, 30, 29, 28, 27]]) > 0).all())
    self.assertEqual(int(np.argmax(z)), 30)
    self.assertEqual(int(np.argmin(y)), 8)
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (50, 58)):
      self.assertGreater(y[upper], y[lower])
    self.assertBetween(x[45] - x[36], 85, 95)
    self.assertGreater(y[19], y[37] + 8)
    np.testing.assert_array_equal(p[61:64], p[[67, 66, 65]])


class ModesTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = procedural_face_model(**_SMALL)

  def test_same_arguments_give_the_same_model(self):
    again = procedural_face_model(**_SMALL)
    for field in ("mean_shape", "identity_basis", "expression_basis"):
      np.testing.assert_array_equal(
        getattr(again, field), getattr(self.model, field)
      )

  def test_another_seed_gives_other_people_on_the_same_mean(self):
    other = procedural_face_model(**_SMALL, seed=1)
    np.testing.assert_array_equal(other.mean_shape, self.model.mean_shape)
    gap = np.abs(other.identity_basis - self.model.identity_basis).max()
    self.assertGreater(gap, 0.1)

  @parameterized.parameters((7, 5), (20, 24), (150, 44))
  def test_smaller_dimensions_are_a_prefix(self, identity, expression):
    other = procedural_face_model(
      num_vertices=1201, identity_dim=identity, expression_dim=expression
    )
    i, e = min(identity, 20), min(expression, 32)
    np.testing.assert_array_equal(
      other.identity_basis[..., :i], self.model.identity_basis[..., :i]
    )
    np.testing.assert_array_equal(
      other.expression_basis[..., :e], self.model.expression_basis[..., :e]
    )

  def test_each_mode_is_exactly_symmetric_or_antisymmetric(self):
    for basis in (self.model.identity_basis, self.model.expression_basis):
      error, parity = _parity_error(self.model, basis)
      np.testing.assert_array_equal(error, 0)
      self.assertSetEqual(set(parity.tolist()), {-1, 1})

  def test_identity_variance_falls_and_holds_no_rigid_motion(self):
    basis = self.model.identity_basis
    variance = np.square(basis).sum(1).mean(0)
    # Ordered on control points, so only roughly ordered on the mesh.
    self.assertGreater(variance[:7].min(), variance[14:].max())
    self.assertLess(variance[-1], 0.2 * variance[0])
    # Means over vertices differ from those over control points.
    shift = np.abs(basis.mean(0)).max(0) / np.sqrt(variance)
    self.assertLess(shift.max(), 0.5)

  def test_identity_keeps_the_lips_together(self):
    seam = self.model.landmark_vertices[[61, 62, 63]]
    lower = self.model.landmark_vertices[[67, 66, 65]]
    np.testing.assert_allclose(
      self.model.identity_basis[seam],
      self.model.identity_basis[lower],
      atol=1e-5,
    )

  def test_jaw_parts_the_lips_and_leaves_the_eyes(self):
    jaw = self.model.expression_basis[..., 0]
    at = self.model.landmark_vertices
    self.assertGreater(jaw[at[62], 1] - jaw[at[66], 1], 2.0)
    self.assertLess(jaw[at[8], 1], -2.0)
    self.assertLess(np.abs(jaw[at[36:48]]).max(), 0.05)

  @parameterized.named_parameters(
    ("smile", 1, range(36, 48), range(48, 68)),
    ("brows", 2, range(48, 68), range(17, 27)),
    ("blink", 3, [*range(17), *range(48, 68)], (37, 38, 43, 44)),
  )
  def test_movements_are_local(self, mode, still, moving):
    field = np.linalg.norm(self.model.expression_basis[..., mode], axis=1)
    at = self.model.landmark_vertices
    self.assertLess(
      field[at[list(still)]].max(), 0.15 * field[at[list(moving)]].max()
    )

  def test_process_modes_stay_inside_the_face(self):
    more = self.model.expression_basis[..., 24:]
    outline = self.model.landmark_vertices[[0, 1, 2, 14, 15, 16]]
    self.assertLess(np.abs(more[outline]).max(), 0.1 * np.abs(more).max())

  def test_people_have_no_folded_triangles_in_the_cheeks_and_forehead(self):
    model = self.model
    rng = np.random.default_rng(0)
    p = model.mean_shape
    rest = _double_area(p, model.triangles)
    away = np.ones(model.num_vertices, bool)
    for landmark in model.landmark_vertices[17:]:
      away &= np.linalg.norm(p - p[landmark], axis=1) > 9
    smooth = away[model.triangles].all(1)
    for _ in range(5):
      shape = p + model.identity_basis @ rng.normal(size=20).astype(np.float32)
      turned = np.sum(_double_area(shape, model.triangles) * rest, 1)
      self.assertGreater(turned[smooth].min(), 0)


class ArgumentsTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"num_vertices": 499}, "num_vertices: expected 500 to"),
    ({"identity_dim": 0}, "identity_dim: expected 1 to"),
    ({"expression_dim": 381}, "expression_dim: expected 1 to 380, got 381"),
    ({"seed": -1}, "seed: expected 0"),
  )
  def test_sizes_out_of_range_are_refused(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      procedural_face_model(**arguments)

  def test_sizes_must_be_whole_numbers(self):
    with self.assertRaisesRegex(TypeError, "num_vertices: expected an int"):
      procedural_face_model(num_vertices=1e4)


if __name__ == "__main__":
  absltest.main()
