"""What is shown of a mesh, against what is cut and closed by hand."""

from absl.testing import absltest
import numpy as np

from disentangle3d.faces.display_mesh import clip_triangles, display_mesh
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.procedural import procedural_face_model
from tests.faces.skinned import with_holes


def area_of(points, triangles):
  a, b, c = np.moveaxis(points[triangles], 1, 0)
  return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


class ClipTest(absltest.TestCase):
  def test_a_plane_is_cut_at_a_line(self):
    x, y = (
      axis.ravel() for axis in np.meshgrid(np.arange(5.0), np.arange(4.0))
    )
    points = np.stack([x, y, 0 * x], 1)
    corner = np.arange(20).reshape(4, 5)[:-1, :-1].reshape(-1)
    triangles = np.concatenate(
      [
        np.stack([corner, corner + 1, corner + 6], 1),
        np.stack([corner, corner + 6, corner + 5], 1),
      ]
    )
    # What is left of x + y / 2 = 3.2 stays.
    inside = 3.2 - x - y / 2
    left, edges = clip_triangles(triangles, inside, first=20)
    one, other = inside[edges[:, 0]], inside[edges[:, 1]]
    self.assertTrue(np.all(one > 0) and np.all(other <= 0))
    share = (one / (one - other))[:, None]
    cut = (1 - share) * points[edges[:, 0]] + share * points[edges[:, 1]]
    np.testing.assert_allclose(cut[:, 0] + cut[:, 1] / 2, 3.2)
    everything = np.concatenate([points, cut])
    # The mean of 3.2 at the bottom and 1.7 at the top, times the height.
    self.assertAlmostEqual(area_of(everything, left), 3 * (3.2 + 1.7) / 2)
    a, b, c = np.moveaxis(everything[left], 1, 0)
    self.assertTrue(np.all(np.cross(b - a, c - a)[:, 2] >= 0))


class DisplayMeshTest(absltest.TestCase):
  def test_the_face_is_shown_and_its_vertices_follow_a_shape(self):
    model = procedural_face_model(
      num_vertices=600, identity_dim=2, expression_dim=1
    )
    mesh = display_mesh(model)
    shape = np.asarray(model.mean_shape)
    vertices = mesh.vertices(shape)
    self.assertEqual(len(vertices), mesh.triangles.max() + 1)
    np.testing.assert_array_equal(vertices[:600], shape)
    marks = np.asarray(model.landmark_vertices)
    away = np.linalg.norm(vertices - shape[marks[30]], axis=1)
    chin = np.linalg.norm(shape[marks[8]] - shape[marks[30]])
    self.assertLess(away[np.unique(mesh.triangles)].max(), 1.43 * chin)
    # Nothing below the plane of chin and jaw's corners, where the neck is.
    there, jaw = vertices[np.unique(mesh.triangles)], shape[marks[[8, 3, 13]]]
    down = np.cross(jaw[1] - jaw[0], jaw[2] - jaw[0])
    down *= -np.sign(down @ (shape[marks[30]] - jaw[0])) / np.linalg.norm(down)
    lowest = ((there - jaw[0]) @ down).max() / chin
    self.assertBetween(lowest, 0.25, 0.301)
    np.testing.assert_allclose(
      mesh.vertices(shape + [[5, 0, 1]]), vertices + [[5, 0, 1]], atol=1e-3
    )
    facing = mesh.facing(np.full(600, 0.7, np.float32))
    np.testing.assert_allclose(facing, 0.7, rtol=1e-6)

  def test_an_eye_is_seen_where_its_surroundings_are(self):
    # A lid that is turned inwards around a hole, and a nose that is not.
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    points = np.concatenate([12 * ring, 13 * ring, 60 * ring])
    rows = np.arange(24)
    a, b = rows, 12 * (rows // 12) + (rows + 1) % 12
    triangles = np.concatenate(
      [np.stack([b, a, a + 12], 1), np.stack([b, a + 12, b + 12], 1)]
    )
    marks = np.full(68, -1)
    marks[36:48] = np.arange(12)
    marks[48:68] = 24
    model = MorphableModel(
      mean_shape=points.astype(np.float32),
      identity_basis=np.zeros((36, 3, 0), np.float32),
      expression_basis=np.zeros((36, 3, 0), np.float32),
      triangles=triangles.astype(np.int32),
      landmark_vertices=marks.astype(np.int32),
    )
    mesh = display_mesh(model)
    self.assertLen(mesh.around, 1)
    facing = np.repeat(np.float32([0.1, 0.8, 0.4]), 12)
    got = mesh.facing(facing)
    np.testing.assert_allclose(got[:24], 0.8)
    np.testing.assert_allclose(got[24:36], 0.4)
    self.assertGreater(len(got), 36)
    np.testing.assert_allclose(got[36:], 0.8)

  def test_a_mouth_is_seen_where_its_lips_are(self):
    model = with_holes(
      procedural_face_model(
        num_vertices=1_500, identity_dim=1, expression_dim=1
      )
    )
    mesh = display_mesh(model)
    mouth = np.asarray(mesh.cavities.mouth) > 0
    border = np.unique(np.asarray(mesh.cavities.border)[mouth])
    mean = np.asarray(model.mean_shape)
    away = np.linalg.norm(mean[:, None] - mean[border][None], axis=-1).min(1)
    # Insides of lips, which are turned away, have the lips' fronts beside them.
    facing = np.where(away < 4, 0.0, 0.9).astype(np.float32)
    self.assertGreater((facing[away < 8] > 0).sum(), 5)
    got = mesh.facing(facing)
    np.testing.assert_array_equal(got[border], np.float32(0.9))
    holes = got[1_500 : 1_500 + len(mouth)]
    np.testing.assert_array_equal(holes[mouth], np.float32(0.9))
    far = (away > 8) & (facing > 0)
    np.testing.assert_array_equal(got[:1_500][far], facing[far])


if __name__ == "__main__":
  absltest.main()
