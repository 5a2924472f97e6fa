"""What would be found out hours later."""

import collections
import pathlib
import shutil
from unittest import mock

from absl.testing import absltest, parameterized

from data_prep.datasets import preflight
from data_prep.datasets.preparation import plan_steps, prepare_dataset
from data_prep.photos.photo_sets import Photo
from data_prep.stages.child_process import told_by
from disentangle3d.faces.morphable_model import save_morphable_model
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.types import UserError

_Usage = collections.namedtuple("_Usage", "free")


class CheckStepsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    self.output = self.folder / "prepared"
    self.photos = [
      Photo(self.folder / name, name.split("/")[0], name)
      for name in ("Ann/1.jpg", "Ann/2.jpg", "Bo, Jr./1.jpg", "Cy/1.jpg")
    ]
    self.model_file = self.folder / "model.npz"
    self.model = procedural_face_model(
      num_vertices=1_000, identity_dim=10, expression_dim=3
    )
    save_morphable_model(self.model_file, self.model)
    self.told = self.enter_context(
      mock.patch.object(preflight, "told_by", return_value="")
    )

  def _steps(self, **options):
    return plan_steps(
      "photos",
      str(self.model_file),
      self.output,
      {"build_dataset": {"heldout_people": "1"}, **options},
    )

  def _check(self, **options):
    preflight.check_steps(
      self._steps(**options), self.output, self.photos, self.model
    )

  @parameterized.parameters("1", "2", "Ann", "Cy, Ann", '"Bo, Jr.",Cy')
  def test_people_who_are_there(self, heldout):
    self._check(build_dataset={"heldout_people": heldout})
    self.assertFalse(self.output.exists())

  @parameterized.parameters(
    ("3", "expected fewer than the 3 people there are, got 3"),
    ("Nobody", "names of people in the photos, got 'Nobody'"),
    ('Ann,Cy,"Bo, Jr."', "expected someone to be left"),
  )
  def test_people_who_are_not(self, heldout, message):
    with self.assertRaisesRegex(UserError, message):
      self._check(build_dataset={"heldout_people": heldout})

  def test_what_a_stage_says_of_its_flags_and_what_they_name(self):
    self.told.side_effect = told_by
    with self.assertRaisesRegex(
      UserError, "^--set=locate_landmarks.fan_python: needed for --locator=fan$"
    ):
      self._check(locate_landmarks={"locator": "fan"})

  def test_crops_that_training_does_not_take(self):
    with self.assertRaisesRegex(UserError, "align_faces.template: .*arcface"):
      self._check(align_faces={"template": "arcface"})
    self._check(align_faces={"template": "whole_face"})

  def test_points_of_none_of_the_photos(self):
    points = self.folder / "points" / "Cy"
    points.mkdir(parents=True)
    options = {"locator": "pts", "points": str(points.parent)}
    with self.assertRaisesRegex(UserError, r"expected a .pts file for some"):
      self._check(locate_landmarks=options)
    (points / "1.pts").touch()
    self._check(locate_landmarks=options)

  def test_a_disk_that_is_too_small(self):
    with mock.patch.object(shutil, "disk_usage", return_value=_Usage(50_000)):
      with self.assertRaisesRegex(
        UserError, "prepared: expected 0.1 MB or more of free space, got 0.1"
      ):
        self._check()
    with mock.patch.object(shutil, "disk_usage", return_value=_Usage(90_000)):
      self._check()

  def test_flags_may_change_until_their_stage_has_written(self):
    detected = self.output / "detected"
    # The first stage fails: there are no photos.
    first = {"detect_faces": {"min_size": "20"}}
    self.assertFalse(prepare_dataset(self._steps(**first), self.output))
    second = {"detect_faces": {"min_size": "30"}, "fit_faces": {"robust": "l2"}}
    self._check(**second)
    self.assertFalse(prepare_dataset(self._steps(**second), self.output))
    detected.mkdir(exist_ok=True)
    (detected / "manifest-00000-of-00001.jsonl").touch()
    with self.assertRaisesRegex(
      UserError,
      "prepared/detected: begun with detect_faces.min_size '30', .* got '20'",
    ):
      self._check(**first)
    self._check(detect_faces={"min_size": "30"})


if __name__ == "__main__":
  absltest.main()
