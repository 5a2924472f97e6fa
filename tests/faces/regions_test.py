from absl.testing import absltest
import numpy as np

from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.regions import face_regions


class FaceRegionsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.model = procedural_face_model(
      num_vertices=6000, identity_dim=2, expression_dim=2
    )
    cls.masks = {k: np.asarray(v) for k, v in face_regions(cls.model).items()}

  def test_masks_are_soft_and_mirror_symmetric(self):
    for name, mask in self.masks.items():
      self.assertEqual(mask.shape, (6000,), name)
      self.assertBetween(mask.min(), 0, 1, name)
      self.assertBetween(mask.max(), 0.9, 1, name)
      np.testing.assert_allclose(
        mask[self.model.mirror_vertices], mask, atol=1e-4, err_msg=name
      )

  def test_masks_lie_where_their_names_say(self):
    p = self.model.mean_shape
    points = p[self.model.landmark_vertices]

    def centre(name, right_half):
      weight = self.masks[name] * ((p[:, 0] > 0) if right_half else 1)
      return (weight[:, None] * p).sum(0) / weight.sum()

    lips = centre("lips", False)
    np.testing.assert_allclose(lips[:2], points[48:60, :2].mean(0), atol=3)
    for name in ("eyes", "iris", "pupil"):
      eye = centre(name, True)
      np.testing.assert_allclose(eye[:2], points[42:48, :2].mean(0), atol=3)
    brow = centre("brows", True)
    np.testing.assert_allclose(brow[:2], points[22:27, :2].mean(0), atol=5)
    self.assertTrue((self.masks["iris"] <= self.masks["eyes"] + 1e-6).all())
    self.assertTrue((self.masks["pupil"] <= self.masks["iris"] + 1e-6).all())
    self.assertLess(centre("mouth", False)[2], lips[2] - 3)

  def test_a_model_without_the_landmarks_is_refused(self):
    landmarks = self.model.landmark_vertices.copy()
    landmarks[20] = -1
    with self.assertRaisesRegex(ValueError, r"landmarks 17 to 67.*\[20\]"):
      face_regions(self.model.replace(landmark_vertices=landmarks))


if __name__ == "__main__":
  absltest.main()
