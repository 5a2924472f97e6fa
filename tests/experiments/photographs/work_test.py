"""Where the faces of a photo go, and when a run is done."""

import pathlib

from absl.testing import absltest

from disentangle3d.types import UserError
from experiments.photographs.work import (
  RESULTS,
  finished_rows,
  folder_name,
  open_work,
)

_SETTINGS = {"photos": "2 files", "outputs": ("mesh",)}


class FinishedTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.output = pathlib.Path(self.create_tempdir().full_path) / "out"

  def _finish(self):
    with open_work(self.output, _SETTINGS) as work:
      (self.output / "a" / "face1").mkdir(parents=True)
      work.finish_photo("a.jpg", ["a/face1"], "")
      work.finish({"page": "x"}, passed_over={})
    return work.rows

  def test_a_run_that_is_done_is_not_begun_again(self):
    self.assertIsNone(finished_rows(self.output, _SETTINGS))
    rows = self._finish()
    self.assertEqual(finished_rows(self.output, _SETTINGS), rows)
    other = _SETTINGS | {"photos": "3 files"}
    self.assertIsNone(finished_rows(self.output, other))
    with self.assertRaisesRegex(UserError, "expected a new or an empty"):
      with open_work(self.output, other):
        pass

  def test_one_that_was_killed_while_it_cleared_up_is_done(self):
    rows = self._finish()
    for left in ("rows.jsonl", "shown/00.npz"):
      path = self.output / ".work" / left
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()
    (self.output / ".viewer.html.0.partial").touch()
    self.assertEqual(finished_rows(self.output, _SETTINGS), rows)
    self.assertCountEqual(
      [path.name for path in self.output.iterdir()], ["a", "page", RESULTS]
    )

  def test_one_of_whose_faces_some_are_gone_is_not_done(self):
    self._finish()
    (self.output / "a" / "face1").rmdir()
    self.assertIsNone(finished_rows(self.output, _SETTINGS))

  def test_one_that_was_killed_before_goes_on(self):
    with open_work(self.output, _SETTINGS) as work:
      work.finish_photo("a.jpg", ["a/face1"], "")
    self.assertIsNone(finished_rows(self.output, _SETTINGS))
    with open_work(self.output, _SETTINGS) as work:
      self.assertLen(work.rows, 1)

  def test_settings_may_change_until_something_is_written(self):
    other = _SETTINGS | {"photos": "3 files"}
    with open_work(self.output, _SETTINGS):
      pass
    with open_work(self.output, other) as work:
      work.finish_photo("a.jpg", [], "no face found")
    with self.assertRaisesRegex(UserError, "begun with photos 3 files, got 2"):
      with open_work(self.output, _SETTINGS):
        pass

  def test_settings_that_a_power_cut_left_empty_are_named(self):
    with open_work(self.output, _SETTINGS) as work:
      work.finish_photo("a.jpg", [], "no face found")
    (self.output / ".work" / "settings.json").write_text("")
    with self.assertRaisesRegex(UserError, "settings.json: expected the sett"):
      with open_work(self.output, _SETTINGS):
        pass


class FolderTest(absltest.TestCase):
  def test_photos_of_one_name_and_frames_get_folders_of_their_own(self):
    taken = set()
    for photo, folder in (
      ("a/x y.jpg", "x_y"),
      ("b/x y.png", "x_y-2"),
      ("film.mp4::12", "film-000012"),
      ("c/.jpg", "jpg"),
      ("d/x_y", "x_y-3"),
    ):
      self.assertEqual(folder_name(photo, taken), folder)
      taken.add(folder)

  def test_no_photo_is_written_over_the_output_or_what_is_in_it(self):
    for photo, folder in (
      ("...jpg", "photo"),
      ("..jpg", "photo"),
      (".work.jpg", "work"),
      ("results.json.jpg", "results.json-2"),
      ("viewer.html.png", "viewer.html-2"),
    ):
      self.assertEqual(folder_name(photo, set()), folder)


if __name__ == "__main__":
  absltest.main()
