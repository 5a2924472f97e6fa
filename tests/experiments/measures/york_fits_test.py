"""From no calibration to all of it, one part after another."""

from absl.testing import absltest
import numpy as np

from disentangle3d.faces.morphable_model import identity_calibration
from disentangle3d.types import UserError
from experiments.evaluations.york import YorkTest, check_york
from experiments.measures.york_fits import PARTS, fit_parts
from tests.fixtures import random_morphable_model


class FitPartsTest(absltest.TestCase):
  def test_each_adds_one_part(self):
    model = random_morphable_model()
    offset = np.random.default_rng(0).normal(size=(68, 3)).astype(np.float32)
    calibration = identity_calibration(model).replace(
      offset_mm=offset,
      covariance_mm2=np.tile(np.eye(2, dtype=np.float32), (1, 68, 1, 1)),
    )
    calibrated = model.replace(landmark_calibration=calibration)
    parts = fit_parts(calibrated)
    self.assertEqual(tuple(parts), PARTS)
    models, options = zip(*parts.values(), strict=True)
    self.assertIsNone(models[0].landmark_calibration)
    across = models[1].landmark_calibration.offset_mm
    np.testing.assert_array_equal(across[:, :2], offset[:, :2])
    np.testing.assert_array_equal(across[:, 2], 0)
    for whole in models[2:]:
      np.testing.assert_array_equal(
        whole.landmark_calibration.offset_mm, offset
      )
    self.assertEqual(
      [one.noise for one in options], ["isotropic"] * 3 + ["calibrated"]
    )

  def test_what_would_be_refused_is_refused_before_anything_is_measured(self):
    check_york(YorkTest(parts=True, landmark_calibration="none"))
    with self.assertRaisesRegex(UserError, "--york_parts: expected a landmark"):
      check_york(YorkTest(("york",), parts=True, landmark_calibration="none"))
    with self.assertRaisesRegex(UserError, "gone.npz: no such file"):
      check_york(YorkTest(("york",), eos_model="gone.npz"))

  def test_without_a_calibration_there_are_no_parts(self):
    with self.assertRaisesRegex(UserError, "--york_parts: expected a landmark"):
      fit_parts(random_morphable_model())


if __name__ == "__main__":
  absltest.main()
