import importlib.util
import pathlib
import pickle
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.faces.mtcnn import weights as mtcnn_weights


class WeightsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    for name in ("mtcnn", "lz4"):
      if importlib.util.find_spec(name) is None:
        self.skipTest(f"{name} is not installed (extra `detect`)")
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "pnet.lz4"

  def _content(self) -> bytes:
    """The package's file, unpacked."""
    import lz4.frame

    folder = importlib.util.find_spec("mtcnn").submodule_search_locations[0]
    path = pathlib.Path(folder) / "assets" / "weights" / "pnet.lz4"
    return lz4.frame.decompress(path.read_bytes())

  def _write(self, content: bytes) -> None:
    import lz4.frame

    self.path.write_bytes(lz4.frame.compress(content))

  def test_they_are_the_arrays_that_joblib_unpickles(self):
    # joblib is the oracle: the package loads its own files with it.
    import joblib

    self._write(self._content())
    read = mtcnn_weights.read_weights(self.path, "pnet")
    expected = joblib.load(self.path)
    self.assertLen(expected, len(read))
    for array, wanted in zip(read.values(), expected, strict=True):
      np.testing.assert_array_equal(array, wanted)
    everything = mtcnn_weights.load_weights()
    self.assertEqual(
      {name: len(arrays) for name, arrays in everything.items()},
      {"pnet": 13, "rnet": 16, "onet": 21},
    )

  def test_nothing_in_a_file_is_executed(self):
    class Call:
      def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path(self.path),))

    call = Call()
    call.path = str(self.path.with_name("touched"))
    self._write(pickle.dumps([call], protocol=4))
    with self.assertRaisesRegex(ValueError, "expected arrays only, got the"):
      mtcnn_weights.read_weights(self.path, "pnet")
    self.assertFalse(self.path.with_name("touched").exists())

  @parameterized.named_parameters(
    ("cut_off", lambda content: content[:5000], "expected"),
    ("another_network", None, "array 0: expected shape .3, 3, 3, 28"),
    ("no_arrays", lambda _: pickle.dumps([], protocol=4), "13 arrays, got 0"),
    ("not_a_number", "nan", "finite numbers in the array"),
  )
  def test_broken_files_are_named(self, spoil, message):
    content = self._content()
    network = "rnet" if spoil is None else "pnet"
    if spoil == "nan":
      value = mtcnn_weights.load_weights()["pnet"]["conv1_bias"][:4]
      content = content.replace(
        value.tobytes(), np.full(4, np.nan, np.float32).tobytes()
      )
    elif spoil is not None:
      content = spoil(content)
    self._write(content)
    with self.assertRaisesRegex(ValueError, f"pnet.lz4: .*{message}"):
      mtcnn_weights.read_weights(self.path, network)

  def test_a_broken_frame_is_named(self):
    self.path.write_bytes(b"no lz4 at all")
    with self.assertRaisesRegex(ValueError, "pnet.lz4: cannot be read as LZ4"):
      mtcnn_weights.read_weights(self.path, "pnet")


if __name__ == "__main__":
  absltest.main()
