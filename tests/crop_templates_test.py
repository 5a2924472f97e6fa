from absl.testing import absltest, parameterized
import jax.numpy as jnp
import numpy as np
import scipy

from disentangle3d.crop_templates import (
  LANDMARK_TEMPLATE,
  SPHEREFACE,
  TEMPLATES,
  WHOLE_FACE,
  aligned_points,
  crop_from_landmarks,
  template_points,
  template_scale,
)
from disentangle3d.geometry import apply_affine, five_points, similarity_2d
from disentangle3d.types import (
  CROP_TEMPLATE,
  IMAGE_HEIGHT,
  IMAGE_WIDTH,
  LANDMARK_MIRROR,
)


class CropTemplatesTest(parameterized.TestCase):
  def test_the_whole_face_lies_in_the_crop_and_is_its_own_mirror_image(self):
    low, high = LANDMARK_TEMPLATE.min(0), LANDMARK_TEMPLATE.max(0)
    self.assertTrue((low > 0).all())
    self.assertTrue((high < (IMAGE_WIDTH - 1, IMAGE_HEIGHT - 1)).all())
    mirrored = LANDMARK_TEMPLATE[LANDMARK_MIRROR] * [-1, 1] + [95, 0]
    np.testing.assert_allclose(mirrored, LANDMARK_TEMPLATE, atol=0.11)

  def test_it_is_a_face_smaller_than_spherefaces(self):
    matrix = similarity_2d(
      jnp.asarray(CROP_TEMPLATE), five_points(LANDMARK_TEMPLATE)
    )
    self.assertAlmostEqual(float(matrix[0, 1]), 0, delta=0.01)
    self.assertAlmostEqual(
      float(matrix[0, 0]), template_scale(WHOLE_FACE), delta=0.01
    )
    self.assertEqual(template_scale(SPHEREFACE), 1)

  @parameterized.parameters(*TEMPLATES)
  def test_the_crop_is_the_least_squares_similarity(self, template):
    rng = np.random.default_rng(0)
    photo = rng.uniform(0, 500, (3, 68, 2)).astype(np.float32)
    found = np.asarray(crop_from_landmarks(jnp.asarray(photo), template))
    source = np.asarray(aligned_points(photo, template))
    target = template_points(template)
    self.assertEqual(source.shape[1:], target.shape)
    for matrix, points in zip(found, source, strict=True):

      def away(numbers, points=points):
        a, b, x, y = numbers
        moved = points @ np.array([[a, b], [-b, a]]) + [x, y]
        return (moved - target).ravel()

      best = scipy.optimize.least_squares(away, [0.1, 0, 0, 0], x_scale="jac")
      a, b, x, y = best.x
      np.testing.assert_allclose(
        matrix, [[a, -b, x], [b, a, y]], rtol=1e-3, atol=1e-3
      )

  @parameterized.parameters(*TEMPLATES)
  def test_a_moved_photo_has_the_same_crop(self, template):
    rng = np.random.default_rng(1)
    photo = jnp.asarray(LANDMARK_TEMPLATE + rng.normal(0, 2, (68, 2)))
    move = jnp.asarray([[1.2, -0.7, 40.0], [0.7, 1.2, -9.0]], jnp.float32)
    crop = apply_affine(crop_from_landmarks(photo, template), photo)
    moved = apply_affine(move, photo)
    np.testing.assert_allclose(
      apply_affine(crop_from_landmarks(moved, template), moved), crop, atol=0.01
    )


if __name__ == "__main__":
  absltest.main()
