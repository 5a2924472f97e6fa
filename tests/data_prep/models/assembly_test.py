from absl.testing import absltest, parameterized
import numpy as np

from data_prep.models.assembly import (
  assemble_model,
  checked_indices,
  mirror_map,
  outward_triangles,
)
from disentangle3d.faces.procedural import procedural_face_model
from tests.data_prep.models import known_model
from tests.data_prep.models.known_model import MODEL

_NO_TRIANGLES = np.zeros((0, 3), np.int32)


class AssembleModelTest(parameterized.TestCase):
  def _assemble(self, **changes):
    values = {
      "where": "file.x",
      "unit_mm": 10.0,
      "mean": known_model.flat_mean() / 10,
      "identity": known_model.flat_basis(MODEL.identity_basis) / 10,
      "expression": known_model.flat_basis(MODEL.expression_basis) / 10,
      "triangles": known_model.inward_triangles().astype(np.float64),
      "landmarks": MODEL.landmark_vertices.astype(np.int64),
      "name": "n",
      "source": "s",
      "licence": "l",
    }
    return assemble_model(**values | changes)

  def test_units_winding_and_mirror_come_out_canonical(self):
    model = self._assemble()
    known_model.assert_same_model(model)
    self.assertEqual((model.name, model.source, model.licence), tuple("nsl"))

  @parameterized.named_parameters(
    ("mean", {"mean": np.ones(4)}, "mean_shape: expected 3 numbers a vertex"),
    ("no_mean", {"mean": np.ones(0)}, "mean_shape: expected 3 numbers"),
    (
      "basis",
      {"identity": np.ones((9, 2))},
      r"identity_basis: .*\[1800, any\]",
    ),
    ("rank", {"expression": np.ones(9)}, r"expression_basis: .* got \[9\]"),
    ("quads", {"triangles": np.ones((9, 4))}, r"triangles: .*\[any, 3\]"),
    ("nan", {"mean": np.full(1800, np.nan)}, "mean_shape: expected finite"),
    ("landmarks", {"landmarks": np.arange(67)}, r"landmark_vertices: .*\[68\]"),
    (
      "minus_2",
      {"landmarks": np.full(68, -2)},
      "landmark_vertices: .* from -1 to 599, got -2 to -2",
    ),
  )
  def test_what_cannot_be_is_named(self, changes, message):
    with self.assertRaisesRegex(ValueError, rf"^file\.x: {message}"):
      self._assemble(**changes)


class CheckedIndicesTest(absltest.TestCase):
  def test_whole_floats_are_indices_and_others_are_not(self):
    found = checked_indices("f", "x", np.array([0.0, 2.0]), 3)
    self.assertEqual(found.dtype, np.int32)
    for wrong in ([0.5], [np.nan], ["a"], [], [3], [-1]):
      with self.assertRaisesRegex(ValueError, "f: x: expected vertex indices"):
        checked_indices("f", "x", np.array(wrong), 3)


class OutwardTrianglesTest(absltest.TestCase):
  def test_a_mask_and_a_closed_head_turn_outwards(self):
    head = np.array(
      [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]],
      np.float64,
    )
    closed = np.array(
      [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4]]
      + [[2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    )
    for vertices, triangles in (
      (head + [[5.0, 7.0, -9.0]], closed),
      (MODEL.mean_shape.astype(np.float64), MODEL.triangles),
    ):
      np.testing.assert_array_equal(
        outward_triangles(vertices, triangles), triangles
      )
      turned = outward_triangles(vertices, triangles[:, [0, 2, 1]])
      np.testing.assert_array_equal(turned, triangles)


class MirrorMapTest(absltest.TestCase):
  def test_asymmetric_mesh_has_none(self):
    points = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 5, 0]])
    np.testing.assert_array_equal(mirror_map(points, _NO_TRIANGLES), [1, 0, 2])
    points[0, 1] = 0.2
    self.assertIsNone(mirror_map(points, _NO_TRIANGLES))

  def test_shut_lips_are_told_apart_by_their_neighbours(self):
    face = procedural_face_model(
      num_vertices=2_000, identity_dim=1, expression_dim=1
    )
    shape = face.mean_shape.astype(np.float64)
    self.assertLess(len(np.unique(shape, axis=0)), len(shape))
    np.testing.assert_array_equal(
      mirror_map(shape, face.triangles), face.mirror_vertices
    )


if __name__ == "__main__":
  absltest.main()
