from absl.testing import absltest, parameterized
import numpy as np

from data_prep.models.landmark_lists import (
  BASEL_LANDMARK_NAMES,
  ICT_TRUE_JAWLINE,
  LANDMARK_LISTS,
  landmarks_of_mesh,
)
from disentangle3d.types import LANDMARK_MIRROR

_MISSING = {
  "BFM2017": [*range(8), *range(9, 30), *range(31, 36)]
  + [37, 38, 40, 41, 43, 44, 46, 47],
  "Surrey": [*range(8), *range(9, 17), 60, 64],
}


class LandmarkListsTest(parameterized.TestCase):
  @parameterized.parameters(*LANDMARK_LISTS)
  def test_lists_are_whole_distinct_and_in_range(self, name):
    vertices, num_vertices, source = LANDMARK_LISTS[name]
    self.assertLen(vertices, 68)
    missing = [i for i, vertex in enumerate(vertices) if vertex == -1]
    self.assertEqual(missing, _MISSING.get(name, []))
    self.assertCountEqual(LANDMARK_MIRROR[missing], missing)
    known = [vertex for vertex in vertices if vertex != -1]
    self.assertLen(set(known), len(known))
    self.assertBetween(min(known), 0, num_vertices - 1)
    self.assertBetween(max(known), 0, num_vertices - 1)
    self.assertNotEmpty(source)

  def test_crops_of_one_mesh_keep_the_order_of_its_vertices(self):
    whole = np.array(LANDMARK_LISTS["BFM2009"].vertices)
    crop = np.array(LANDMARK_LISTS["BFM2009 of 53,215 vertices"].vertices)
    left_out = (whole - crop)[np.argsort(crop)]
    # As many as were left out before a vertex: none at first, 275 in the end.
    self.assertBetween(left_out.min(), 0, 275)
    self.assertEqual(left_out.max(), 53_490 - 53_215)
    self.assertTrue((np.diff(left_out) >= 0).all())

  def test_the_jaw_of_ict_is_17_vertices(self):
    self.assertLen(set(ICT_TRUE_JAWLINE), 17)

  def test_basel_names_mirror_as_landmarks_do(self):
    other = {"right": "left", "left": "right", "center": "center"}
    for name, landmark in BASEL_LANDMARK_NAMES.items():
      side, rest = name.split(".", 1)
      mirrored = f"{other[side]}.{rest}"
      self.assertEqual(
        BASEL_LANDMARK_NAMES[mirrored], LANDMARK_MIRROR[landmark], name
      )
      # iBUG counts from the person's right, the image's left.
      if side == "right":
        self.assertLess(landmark, LANDMARK_MIRROR[landmark])


class LandmarksOfMeshTest(absltest.TestCase):
  def test_the_list_of_the_mesh_s_size(self):
    for name, known in LANDMARK_LISTS.items():
      vertices, origin = landmarks_of_mesh("f", known.num_vertices)
      self.assertEqual(vertices.dtype, np.int32)
      np.testing.assert_array_equal(vertices, known.vertices)
      self.assertEqual(origin, f"{name}, {known.source}")

  def test_a_given_list_goes_before(self):
    given = np.arange(68)
    vertices, origin = landmarks_of_mesh("f", 5_023, given)
    self.assertIs(vertices, given)
    self.assertEqual(origin, "given list")

  def test_another_mesh_is_refused_with_the_sizes_that_are_known(self):
    with self.assertRaisesRegex(
      ValueError, r"^m\.pkl: .*5023 \(FLAME\).*, got 5024; --landmarks takes"
    ):
      landmarks_of_mesh("m.pkl", 5_024)


if __name__ == "__main__":
  absltest.main()
