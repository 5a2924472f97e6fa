import io

from absl.testing import absltest, parameterized
import numpy as np
from PIL import Image

from disentangle3d.training.records import (
  decode_image,
  decode_record,
  encode_image,
  encode_record,
)
from tests.training.cases import records


class RecordsTest(parameterized.TestCase):
  def test_record_comes_back(self):
    record = next(records())
    got = decode_record(encode_record(record))
    self.assertEqual(got.keys(), record.keys())
    for name, value in record.items():
      if isinstance(value, bytes | str | int):
        self.assertEqual(got[name], value)
      else:
        np.testing.assert_array_equal(got[name], np.float32(value))

  def test_image_comes_back_to_the_bit(self):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (112, 96, 3), np.uint8)
    np.testing.assert_array_equal(decode_image(encode_image(image)), image)

  @parameterized.named_parameters(
    ("missing", {"label": None}, ValueError, "missing label"),
    ("unknown", {"age": 3}, ValueError, "unknown age"),
    ("type", {"label": "0"}, TypeError, "'label'.*expected int, got str"),
    ("shape", {"landmarks": np.zeros((5, 2))}, ValueError, r"got \[5, 2\]"),
    ("nan", {"camera_scale": np.nan}, ValueError, "camera_scale.*finite"),
  )
  def test_bad_record_is_refused(self, change, error, message):
    record = {**next(records()), **change}
    record = {k: v for k, v in record.items() if v is not None}
    with self.assertRaisesRegex(error, message):
      encode_record(record)

  def test_other_bytes_are_refused(self):
    whole = encode_record(next(records()))
    for data in (b"", b"hello", whole[: len(whole) // 2]):
      with self.assertRaisesRegex(ValueError, "record: expected"):
        decode_record(data)

  def test_bad_images_are_refused(self):
    with self.assertRaisesRegex(ValueError, r"got \[96, 112, 3\]"):
      encode_image(np.zeros((96, 112, 3), np.uint8))
    with self.assertRaisesRegex(TypeError, "expected uint8, got float64"):
      encode_image(np.zeros((112, 96, 3)))
    with self.assertRaisesRegex(ValueError, "expected PNG bytes"):
      decode_image(b"not an image")
    buffer = io.BytesIO()
    Image.new("RGB", (96, 96)).save(buffer, "PNG")
    with self.assertRaisesRegex(ValueError, "112 x 96 pixels .*, got 96 x 96"):
      decode_image(buffer.getvalue())


if __name__ == "__main__":
  absltest.main()
