import pathlib

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.files.caffe_files import read_caffemodel
from tests.data_prep.files.caffe_layout import caffemodel


def some_layers():
  rng = np.random.default_rng(0)
  return {
    "conv1_1": [
      rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
      np.arange(4, dtype=np.float32),
    ],
    "fc5": [rng.normal(size=(5, 300)).astype(np.float32)],
  }


class CaffeFilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = pathlib.Path(self.create_tempdir().full_path)
    self.path = folder / "net.caffemodel"

  @parameterized.named_parameters(
    ("as_written_today", {}),
    ("one_number_a_field", {"packed": False}),
    ("old_fields", {"old": True}),
  )
  def test_blobs_come_back(self, style):
    layers = some_layers()
    self.path.write_bytes(caffemodel(layers, **style))
    found = read_caffemodel(self.path)
    self.assertEqual(list(found), list(layers))
    for name, blobs in layers.items():
      self.assertLen(found[name], len(blobs))
      for got, blob in zip(found[name], blobs, strict=True):
        np.testing.assert_array_equal(got.reshape(blob.shape), blob)
        self.assertEqual(got.ndim, 4 if style.get("old") else blob.ndim)

  def test_a_cut_off_or_other_file_is_named(self):
    content = caffemodel(some_layers())
    others = (content[:-7], content[:40], b"name: 'a net'", b"\xff" * 30, b"")
    for wrong in others:
      self.path.write_bytes(wrong)
      with self.assertRaisesRegex(ValueError, "net.caffemodel: expected a Caf"):
        read_caffemodel(self.path)

  def test_a_blob_that_lies_about_its_shape_is_refused(self):
    content = caffemodel({"fc5": [np.ones((2, 3), np.float32)]})
    self.path.write_bytes(
      content.replace(b"\x0a\x02\x02\x03", b"\x0a\x02\x02\x04")
    )
    with self.assertRaisesRegex(ValueError, r"a blob \[2, 4\] with 6 numbers"):
      read_caffemodel(self.path)

  def test_a_missing_file_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "no such file"):
      read_caffemodel(self.path)


if __name__ == "__main__":
  absltest.main()
