import pathlib

from absl.testing import absltest
import numpy as np

from disentangle3d.faces.landmark_calibration import (
  load_landmark_calibration,
  save_landmark_calibration,
)
from disentangle3d.faces.morphable_model import identity_calibration
from disentangle3d.fitting.calibration_choice import (
  SHIPPED,
  calibrated_model,
  calibration_text,
)
from tests.fixtures import random_calibration, random_morphable_model

MODEL = random_morphable_model()
# On the vertices, as a calibration of the right mesh nearly is.
OTHER = identity_calibration(MODEL).replace(detector="dlib 68", source="here")


class ChoiceTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def _ship(self, name, **changes):
    save_landmark_calibration(self.folder / name, OTHER.replace(**changes))

  def _auto(self, model=MODEL, detectors=("MTCNN + dlib 68",)):
    return calibrated_model(
      model, "auto", detectors=detectors, shipped=self.folder
    ).landmark_calibration

  def test_one_ships_for_a_detector_and_a_model(self):
    self.assertIsNone(self._auto())
    self._ship("a.npz", model="another")
    self._ship("b.npz", detector="face-alignment (FAN)")
    self.assertIsNone(self._auto())
    self._ship("c.npz")
    self.assertEqual(self._auto().source, "here")
    self.assertEqual(self._auto(detectors=["dlib 68"]).source, "here")
    self.assertEqual(
      self._auto(detectors=["face-alignment (FAN)"]).detector,
      "face-alignment (FAN)",
    )
    for detectors in ((), ("annotation",), ("dlib 68", "annotation")):
      self.assertIsNone(self._auto(detectors=detectors))

  def test_one_for_other_vertices_is_passed_over(self):
    self._ship("c.npz")
    rolled = MODEL.replace(
      mean_shape=np.roll(MODEL.mean_shape, 1, 0),
      landmark_vertices=(MODEL.landmark_vertices + 1) % 120,
    )
    self.assertIsNone(self._auto(rolled))
    few = random_morphable_model(num_vertices=80)
    self.assertIsNone(self._auto(few))

  def test_the_model_s_own_comes_first(self):
    self._ship("c.npz")
    own = MODEL.replace(landmark_calibration=OTHER.replace(source="own"))
    self.assertEqual(self._auto(own).source, "own")
    self.assertEqual(self._auto(own, detectors=()).source, "own")
    none = calibrated_model(own, "none", shipped=self.folder)
    self.assertIsNone(none.landmark_calibration)

  def test_a_detector_s_name_will_do(self):
    self._ship("c.npz", detector="MTCNN + dlib 68")
    own = MODEL.replace(landmark_calibration=OTHER.replace(source="own"))
    got = calibrated_model(own, "dlib 68", shipped=self.folder)
    self.assertEqual(got.landmark_calibration.source, "here")
    with self.assertRaisesRegex(FileNotFoundError, "dlib 86: no such file"):
      calibrated_model(MODEL, "dlib 86", shipped=self.folder)
    with self.assertRaisesRegex(
      FileNotFoundError, "dlib 68: no such file.*none of 'another' ships"
    ):
      calibrated_model(
        MODEL.replace(name="another"), "dlib 68", shipped=self.folder
      )

  def test_a_file_must_be_for_the_model(self):
    self._ship("mine.npz", source="mine")
    path = self.folder / "mine.npz"
    got = calibrated_model(MODEL, path)
    self.assertEqual(got.landmark_calibration.source, "mine")
    with self.assertRaisesRegex(FileNotFoundError, "other.npz: no such file"):
      calibrated_model(MODEL, self.folder / "other.npz")
    for wrong in (
      MODEL.replace(name="another"),
      MODEL.replace(mean_shape=-MODEL.mean_shape),
      random_morphable_model(num_vertices=80),
    ):
      with self.assertRaisesRegex(ValueError, "mine.npz: expected a calibrat"):
        calibrated_model(
          wrong.replace(landmark_vertices=MODEL.landmark_vertices % 80), path
        )

  def test_it_is_told_in_a_line(self):
    self.assertEqual(calibration_text(MODEL), "none")
    got = MODEL.replace(landmark_calibration=random_calibration(MODEL))
    self.assertEqual(
      calibration_text(got), "random on random points: tests, seed 0"
    )

  def test_inner_lips_are_points_of_two_lips(self):
    # Of closed lips the nearest triangle can be the other lip's: then no fit
    # could open a mouth.
    for path in SHIPPED.glob("*.npz"):
      corners = load_landmark_calibration(path).triangle_vertices
      upper, lower = (
        set(np.ravel(corners[part]).tolist())
        for part in (slice(61, 64), slice(65, 68))
      )
      self.assertEmpty(upper & lower, path.name)

  def test_those_that_ship_can_be_read(self):
    self.assertTrue((SHIPPED / "dlib68_ict_facekit.npz").is_file())
    for path in SHIPPED.glob("*.npz"):
      calibration = load_landmark_calibration(path)
      # The project's own locator says how sure it is of each point itself.
      if not calibration.detector.startswith("synthetic"):
        self.assertGreater(calibration.num_yaw_ranges, 0)
      self.assertNotIn("unknown", calibration.provenance.values())
      self.assertTrue(path.with_suffix(".md").is_file(), f"{path}: no card")


if __name__ == "__main__":
  absltest.main()
