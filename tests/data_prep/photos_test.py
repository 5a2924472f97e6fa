import io
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np
from PIL import Image

from data_prep.photos import list_photos, natural_key, read_photo


class PhotosTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.image = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)

  def test_colours_come_as_red_green_blue(self):
    path = self.folder / "a.png"
    Image.fromarray(self.image).save(path)
    np.testing.assert_array_equal(read_photo(path), self.image)

  def test_grey_is_three_times_the_same(self):
    path = self.folder / "a.pgm"
    Image.fromarray(self.image[..., 0]).save(path)
    np.testing.assert_array_equal(
      read_photo(path), np.repeat(self.image[..., :1], 3, -1)
    )

  def test_exif_rotation_is_undone(self):
    path = self.folder / "a.jpg"
    halves = np.zeros((32, 64, 3), np.uint8)
    halves[:, :32] = 255  # the left half is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it upright
    Image.fromarray(halves).save(path, exif=exif, quality=95)
    photo = read_photo(path)
    self.assertEqual(photo.shape, (64, 32, 3))
    self.assertGreater(photo[:28].min(), 250)
    self.assertLess(photo[36:].max(), 5)

  @parameterized.named_parameters(
    ("text", "note.jpg", b"Not an image.\n"),
    ("empty", "empty.png", b""),
    ("truncated", "cut.png", None),
  )
  def test_what_is_no_image_is_named(self, name, content):
    if content is None:
      buffer = io.BytesIO()
      Image.fromarray(self.image).save(buffer, "PNG")
      content = buffer.getvalue()[:60]
    path = self.folder / name
    path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, f"{name}: cannot be read as an"):
      read_photo(path)

  def test_photos_are_listed_by_person_in_natural_order(self):
    for name in ("s10/1.pgm", "s2/10.PGM", "s2/9.pgm", "s2/notes.txt"):
      path = self.folder / name
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(b"")
    (self.folder / "README").write_text("")
    (self.folder / "empty").mkdir()
    listed = [
      path.relative_to(self.folder) for path in list_photos(self.folder)
    ]
    self.assertEqual(
      [path.as_posix() for path in listed],
      ["s2/9.pgm", "s2/10.PGM", "s10/1.pgm"],
    )

  def test_natural_order_compares_any_two_names(self):
    names = ["b1", "10", "a", "2", "", "a10b", "a9b", "1a"]
    self.assertEqual(
      sorted(names, key=natural_key),
      ["", "1a", "2", "10", "a", "a9b", "a10b", "b1"],
    )

  def test_folders_without_photos_are_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "gone: no such folder"):
      list_photos(self.folder / "gone")
    with self.assertRaisesRegex(ValueError, "found none"):
      list_photos(self.folder)
    (self.folder / "7.png").write_bytes(b"")
    with self.assertRaisesRegex(ValueError, "the photo 7.png right in it"):
      list_photos(self.folder)


if __name__ == "__main__":
  absltest.main()
