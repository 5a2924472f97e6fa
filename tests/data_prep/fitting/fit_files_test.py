import dataclasses
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.fitting.fit_files import Fits, fits_path, read_fits, write_fits


def _fits(count: int = 4) -> Fits:
  rng = np.random.default_rng(0)
  return Fits(
    image_id=np.array([f"a/{i}.png" for i in range(count)]),
    identity_coefficients=rng.normal(size=(count, 7)).astype(np.float32),
    expression_coefficients=rng.normal(size=(count, 3)).astype(np.float32),
    camera_scale=rng.random(count).astype(np.float32),
    camera_rotation=rng.normal(size=(count, 3, 3)).astype(np.float32),
    camera_translation=rng.normal(size=(count, 2)).astype(np.float32),
    rmse_px=rng.random(count).astype(np.float32),
    relative_error=rng.random(count).astype(np.float32),
    outliers=np.zeros(count, np.float32),
  )


class FitFilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.path = fits_path(self.folder / "manifest-00001-of-00003.jsonl")

  def test_fits_come_back_beside_their_manifest(self):
    self.assertEqual(self.path.name, "fits-00001-of-00003.npz")
    write_fits(self.path, _fits())
    again = read_fits(self.path)
    for field in dataclasses.fields(Fits):
      np.testing.assert_array_equal(
        getattr(again, field.name), getattr(_fits(), field.name)
      )

  @parameterized.named_parameters(
    ("shape", {"camera_scale": np.ones(3)}, r"camera_scale: .* \[4\], got \[3"),
    ("nan", {"rmse_px": np.full(4, np.nan)}, "rmse_px: expected finite"),
    ("twice", {"image_id": np.array(["a"] * 4)}, "image_id: .* got one twice"),
    (
      "rank",
      {"identity_coefficients": np.ones(4)},
      r"identity_coefficients: expected shape \[4, any\]",
    ),
  )
  def test_bad_fits_are_not_written(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      write_fits(self.path, dataclasses.replace(_fits(), **changes))
    self.assertEmpty(list(self.folder.iterdir()))

  def test_files_that_are_no_fits_are_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "npz: no such file"):
      read_fits(self.path)
    write_fits(self.path, _fits())
    content = self.path.read_bytes()
    for broken in (b"", b"text", content[: len(content) // 2]):
      self.path.write_bytes(broken)
      with self.assertRaisesRegex(ValueError, r"00003\.npz: "):
        read_fits(self.path)
    np.savez(self.path, image_id=np.array(["a"]))
    with self.assertRaisesRegex(ValueError, "without camera_rotation"):
      read_fits(self.path)


if __name__ == "__main__":
  absltest.main()
