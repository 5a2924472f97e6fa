"""Where the faces of a photo go."""

from absl.testing import absltest

from experiments.photographs.work import folder_name


class FolderTest(absltest.TestCase):
  def test_photos_of_one_name_and_frames_get_folders_of_their_own(self):
    taken = set()
    for photo, folder in (
      ("a/x y.jpg", "x_y"),
      ("b/x y.png", "x_y-2"),
      ("film.mp4::12", "film-000012"),
      ("c/.jpg", ".jpg"),
      ("d/x_y", "x_y-3"),
    ):
      self.assertEqual(folder_name(photo, taken), folder)
      taken.add(folder)


if __name__ == "__main__":
  absltest.main()
