import pathlib
import pickle
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.files.pickled_arrays import (
  ARRAYS,
  as_array,
  read_pickled_objects,
)
from data_prep.files.restricted_pickle import load_pickle
from tests.data_prep.files import python2_pickle


def _loaded(content: bytes):
  return load_pickle(content, where="f", stand_ins=ARRAYS, encoding="latin1")


class AsArrayTest(parameterized.TestCase):
  @parameterized.product(
    protocol=(2, 3, 4, 5),
    array=(
      np.arange(24.0).reshape(2, 3, 4),
      np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
      np.arange(5, dtype=">u2"),
      np.array([True, False]),
      np.float32(2.5),
      np.zeros((0, 3)),
      np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
      np.array([b"a\xff", b"bcd"]),
      np.array([{"a": 1}, None, "text"], object),
    ),
  )
  def test_arrays_come_back(self, protocol, array):
    value = as_array(_loaded(pickle.dumps(array, protocol)), "f")
    self.assertEqual(value.dtype, array.dtype)
    np.testing.assert_array_equal(value, array)

  def test_python_2_arrays_come_back(self):
    for array in (np.arange(6.0).reshape(2, 3), np.arange(3, dtype=np.uint32)):
      content = python2_pickle.dumps(python2_pickle.Array(array))
      np.testing.assert_array_equal(as_array(_loaded(content), "f"), array)

  @parameterized.named_parameters(
    ("length", b"(J\3\0\0\0t", b"(J\4\0\0\0t", "24 bytes for shape"),
    ("negative", b"(J\3\0\0\0t", b"(J\xff\xff\xff\xfft", "a shape"),
    ("dtype", b"U\2f8", b"U\2V8", "dtype 'V8'"),
    ("objects", b"U\2f8", b"U\2O8", "other than 3 objects"),
    ("order", b"U\1<", b"U\1x", "dtype 'f8'"),
  )
  def test_parts_that_disagree(self, old, new, message):
    content = python2_pickle.dumps(python2_pickle.Array(np.arange(3.0)))
    self.assertEqual(content.count(old), 1)
    spoilt = _loaded(content.replace(old, new))
    with self.assertRaisesRegex(
      ValueError, f"m.pkl, v: expected an .*{message}"
    ):
      as_array(spoilt, "m.pkl, v")

  def test_what_is_no_array(self):
    for value in ("text", None, {}, {1}):
      with self.assertRaisesRegex(ValueError, "expected an array, got a "):
        as_array(value, "f")


class ReadPickledObjectsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "m.pkl"

  def test_chumpy_and_sparse_objects_of_python_2(self):
    data = np.arange(24.0).reshape(4, 6)
    array = python2_pickle.Array(data)
    index = python2_pickle.Array(np.array([0, 1, 6, 7]))
    ch = python2_pickle.Object("chumpy.ch", "Ch", {"x": array})
    self.path.write_bytes(
      python2_pickle.dumps(
        {
          "whole": ch,
          "part": python2_pickle.Object(
            "chumpy.reordering",
            "Select",
            {"a": ch, "idxs": index, "preferred_shape": (2, 2)},
          ),
          "sum": python2_pickle.Object("chumpy.ch_ops", "add", {"a": ch}),
          "matrix": python2_pickle.Object(
            "scipy.sparse.csc", "csc_matrix", {"_shape": (4, 6)}
          ),
        }
      )
    )
    found = read_pickled_objects(self.path)
    np.testing.assert_array_equal(as_array(found["whole"], "f"), data)
    np.testing.assert_array_equal(as_array(found["part"], "f"), data[:2, :2])
    with self.assertRaisesRegex(ValueError, "a OtherObject with other"):
      as_array(found["sum"], "f")
    with self.assertRaisesRegex(ValueError, "a SparseMatrix with other"):
      as_array(found["matrix"], "f")

  def test_it_must_be_a_dict(self):
    self.path.write_bytes(pickle.dumps([1]))
    with self.assertRaisesRegex(ValueError, r"m\.pkl: .*dict, got a list"):
      read_pickled_objects(self.path)


if __name__ == "__main__":
  absltest.main()
