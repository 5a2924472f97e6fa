import pathlib
from unittest import mock

from absl.testing import absltest, parameterized
import cv2
import numpy as np
from PIL import Image

from data_prep.photos.loose_photos import list_files, read_photos


def colours(height=20, width=30):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


class LoosePhotosTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def read(self, path):
    (photo,) = read_photos([path])
    return photo

  def test_a_transparent_part_is_laid_over_white(self):
    alpha = np.full((20, 30), 255, np.uint8)
    alpha[:5], alpha[5:10] = 0, 51
    path = self.folder / "a.png"
    Image.fromarray(np.dstack([colours(), alpha])).save(path)
    photo = self.read(path)
    self.assertEqual(photo.notes, ("an alpha channel, laid over white",))
    share = alpha[..., None] / 255
    expected = share * colours() + (1 - share) * 255
    np.testing.assert_allclose(photo.image, expected, atol=0.51)

  def test_16_bits_and_grey_are_said(self):
    path = self.folder / "deep.png"
    cv2.imwrite(str(path), colours()[..., ::-1].astype(np.uint16) * 257)
    photo = self.read(path)
    self.assertEqual(photo.notes, ("16 bits a channel, reduced to 8",))
    np.testing.assert_allclose(photo.image, colours(), atol=1)
    path = self.folder / "grey.png"
    Image.fromarray(colours()[..., 0]).save(path)
    photo = self.read(path)
    self.assertEqual(photo.notes, ("a grey photo, read as RGB",))
    np.testing.assert_array_equal(
      photo.image, np.repeat(colours()[..., :1], 3, -1)
    )

  def test_a_plain_photo_has_no_notes(self):
    path = self.folder / "plain.png"
    Image.fromarray(colours()).save(path)
    photo = self.read(path)
    self.assertEqual((photo.notes, photo.reason), ((), ""))
    np.testing.assert_array_equal(photo.image, colours())

  @parameterized.parameters("text.jpg", "text.mp4")
  def test_what_cannot_be_read_is_told_of(self, name):
    path = self.folder / name
    path.write_text("no image")
    photo = self.read(path)
    self.assertIsNone(photo.image)
    self.assertRegex(photo.reason, "^cannot be read as")
    self.assertEqual(photo.name, str(path))

  def test_frames_of_a_video_come_in_order(self):
    path = self.folder / "film.avi"
    code = cv2.VideoWriter_fourcc(*"MJPG")
    video = cv2.VideoWriter(str(path), code, 10, (64, 48))
    for level in range(0, 250, 50):
      frame = np.zeros((48, 64, 3), np.uint8)
      frame[..., 2] = level
      video.write(frame)
    video.release()
    photos = list(read_photos([path], every=2))
    self.assertEqual(
      [photo.name for photo in photos], [f"{path}::{n}" for n in (0, 2, 4)]
    )
    red = [photo.image[..., 0].mean() for photo in photos]
    np.testing.assert_allclose(red, [0, 100, 200], atol=6)
    self.assertLess(photos[2].image[..., 2].mean(), 10)

  def test_what_is_cut_off_a_video_is_told(self):
    path = self.folder / "film.AVI"
    code = cv2.VideoWriter_fourcc(*"MJPG")
    video = cv2.VideoWriter(str(path), code, 10, (64, 48))
    for _ in range(20):
      video.write(colours(48, 64))
    video.release()
    content = path.read_bytes()
    self.assertLen(list(read_photos([path])), 20)
    path.write_bytes(content[: len(content) // 2])
    *frames, last = read_photos([path])
    self.assertIsNone(last.image)
    lost = 20 - len(frames)
    self.assertBetween(lost, 5, 15)
    self.assertEqual(
      last.reason,
      f"the video is cut off or damaged: {lost} of its 20 frames cannot be"
      " read",
    )

  def test_frames_without_a_pixel_are_told(self):
    # As OpenCV has them of an AVI with damaged sizes, of one in 5,000.
    path = self.folder / "film.avi"
    path.write_bytes(b"damaged")
    empty = np.zeros((0, 0, 3), np.uint8)
    good = colours(48, 64)
    video = mock.create_autospec(cv2.VideoCapture, instance=True)
    video.get.return_value = 4
    video.grab.side_effect = [True] * 4 + [False]
    video.retrieve.side_effect = [
      (True, good),
      (True, empty),
      (True, None),
      (True, good),
    ]
    with mock.patch.object(cv2, "VideoCapture", return_value=video):
      first, last, told = read_photos([path])
    self.assertEqual((first.name, last.name), (f"{path}::0", f"{path}::3"))
    self.assertIsNone(told.image)
    self.assertIn("2 of its 4 frames cannot be read", told.reason)

  def test_a_folder_says_what_it_does_not_take(self):
    for name in ("1.jpg", "2.tiff", "3.MTS", "4.3gp", "a.txt", "sub/5.jpg"):
      path = self.folder / name
      path.parent.mkdir(exist_ok=True)
      path.write_text("")
    (self.folder / "6.jpg").symlink_to("nowhere")
    with self.assertLogs("absl", "WARNING") as logs:
      found = list_files([str(self.folder)])
    self.assertEqual(
      [file.name for file in found.files], ["1.jpg", "2.tiff", "3.MTS", "4.3gp"]
    )
    self.assertEndsWith(
      logs.records[0].getMessage(),
      ": passed over: 1 .txt (a.txt), 1 broken links (6.jpg), 1 folders (sub)",
    )
    # A pattern's files are taken at the user's word.
    pattern = f"{self.folder}/[1-9a-z]*"
    with self.assertLogs("absl", "WARNING"):
      found = list_files([pattern])
    self.assertLen(found.files, 5)
    self.assertEqual(
      found.passed_over[pattern].counts(), {"broken links": 1, "folders": 1}
    )

  def test_names_patterns_and_folders(self):
    for name in ("10.png", "2.png", "1.jpg", ".hidden.png", "notes.txt"):
      (self.folder / name).write_text("")
    names = ["1.jpg", "2.png", "10.png"]
    expected = [self.folder / name for name in names]
    self.assertEqual(list_files([str(self.folder)]).files, expected)
    pattern, first = str(self.folder / "*.png"), str(expected[0])
    self.assertEqual(
      list_files([first, pattern, first]).files, [expected[0], *expected[1:]]
    )
    with self.assertRaisesRegex(FileNotFoundError, "'none/.*stands for none"):
      list_files(["none/*.jpg"])


if __name__ == "__main__":
  absltest.main()
