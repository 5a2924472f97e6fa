"""Where a face stands in the pictures of it."""

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.geometry import project
from experiments.pages.faces import frontal_camera


class FrontalCameraTest(absltest.TestCase):
  def test_the_face_fills_the_crop_below_its_middle(self):
    model = procedural_face_model(
      num_vertices=600, identity_dim=4, expression_dim=2
    )
    shape = np.asarray(model.mean_shape) + np.float32([7, -20, 3])
    camera = frontal_camera(shape, jnp.float32(0.6), model)
    marks = shape[np.asarray(model.landmark_vertices)]
    found = np.asarray(project(camera, jnp.asarray(marks)))
    middle = (found.min(0) + found.max(0)) / 2
    np.testing.assert_allclose(middle, [47.5, 0.57 * 112 - 0.5], atol=0.01)
    # 0.85 of 0.6 pixels a millimetre.
    np.testing.assert_allclose(
      np.ptp(found, axis=0), 0.51 * np.ptp(marks, axis=0)[:2], rtol=1e-4
    )


if __name__ == "__main__":
  absltest.main()
