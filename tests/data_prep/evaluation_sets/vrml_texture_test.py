import pathlib
import tempfile

from absl.testing import absltest
import numpy as np
from PIL import Image

from data_prep.evaluation_sets.vrml_texture import read_vrml_colors
from tests.data_prep.evaluation_sets.vrml_test import FACE


class TextureTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "face.wrl"
    text = FACE.replace("F0001 # coordIndex [ 9 ].bmp", "face.bmp")
    self.path.write_text(text)
    # Red and green above blue and white; (0, 0) is below, on the left.
    self.picture = (
      np.array(
        [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8
      )
      .repeat(8, 0)
      .repeat(8, 1)
    )
    Image.fromarray(self.picture).save(self.path.with_name("face.bmp"))

  def test_corners_of_the_picture_colour_their_vertices(self):
    """Texture coordinates 0 0, 1 0, 1 1, 0 1 of vertices 0 to 3."""
    np.testing.assert_array_equal(
      read_vrml_colors(self.path, 4),
      [[0, 0, 255], [255, 255, 255], [0, 255, 0], [255, 0, 0]],
    )

  def test_vertices_share_coordinates_by_the_texture_index(self):
    text = self.path.read_text().replace(
      "texCoordIndex [ 0, 1, 2, -1, 1, 0, 3, -1 ]",
      "texCoordIndex [ 2, 2, 2, -1, 2, 2, 0, -1 ]",
    )
    self.path.write_text(text)
    np.testing.assert_array_equal(
      read_vrml_colors(self.path, 4), [[0, 255, 0]] * 3 + [[0, 0, 255]]
    )

  def test_no_texture_is_none_and_a_missing_or_wrong_one_is_named(self):
    text = self.path.read_text()
    self.path.write_text(text.replace("ImageTexture", "PixelTexture"))
    self.assertIsNone(read_vrml_colors(self.path, 4))
    self.path.write_text(text.replace("2, -1, 1, 0, 3, -1 ]\n  }", "2 ]\n  }"))
    with self.assertRaisesRegex(ValueError, "expected 8 indices.*got 3"):
      read_vrml_colors(self.path, 4)
    self.path.write_text(text.replace("1 1, 0 1 ]", "1 1 ]"))
    with self.assertRaisesRegex(ValueError, "indices of 3 texture"):
      read_vrml_colors(self.path, 4)
    self.path.write_text(text)
    self.path.with_name("face.bmp").unlink()
    with self.assertRaisesRegex(FileNotFoundError, "face.bmp: no such file"):
      read_vrml_colors(self.path, 4)


if __name__ == "__main__":
  absltest.main()
