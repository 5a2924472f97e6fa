import importlib.util
import pathlib
import pickle
import unittest

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.files.torch_files import read_state_dict
from tests.data_prep.files import torch_layout


def some_arrays():
  rng = np.random.default_rng(0)
  return {
    "conv1_1.weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
    "fc5.bias": rng.normal(size=7),
    "steps": np.array([3], np.int64),
  }


_WRITERS = (
  ("archive", torch_layout.write_archive),
  ("stream", torch_layout.write_stream),
)


class ReadTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(self.create_tempdir().full_path) / "net.pth"

  @parameterized.named_parameters(*_WRITERS)
  def test_arrays_come_back_bit_for_bit(self, write):
    arrays = some_arrays()
    write(self.path, arrays)
    found = read_state_dict(self.path)
    self.assertEqual(list(found), list(arrays))
    for name, array in arrays.items():
      self.assertEqual(found[name].dtype, array.dtype)
      np.testing.assert_array_equal(found[name], array)

  def test_a_transposed_tensor_keeps_its_strides(self):
    square = np.arange(12, dtype=np.float32).reshape(3, 4)
    written = {"weight": square}
    pickled = torch_layout.pickled_state_dict({"weight": square.T})
    torch_layout.write_archive(self.path, written, pickled=pickled)
    np.testing.assert_array_equal(
      read_state_dict(self.path)["weight"], square.T
    )

  def test_data_parallel_prefix_is_dropped(self):
    arrays = {"module.fc5.bias": np.ones(3, np.float32)}
    torch_layout.write_archive(self.path, arrays)
    self.assertEqual(list(read_state_dict(self.path)), ["fc5.bias"])

  @parameterized.named_parameters(
    (
      "a_call",
      b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.",
      "posix.sys",
    ),
    ("another_class", b"\x80\x02ctorch.nn\nLinear\n)R.", "asks for torch.nn.L"),
    ("numbers", b"\x80\x02K\x05.", "no tensor in it"),
    ("an_extension", b"\x80\x02\x82\x01.", "got one with EXT1 at byte 2"),
    ("a_memo_bomb", b"\x80\x02Nr\xff\xff\xff\x7f.", "memo index 2147483647"),
    ("rubbish", b"\x80\x02u.", "cannot be read"),
  )
  def test_any_other_pickle_is_refused(self, pickled, problem):
    torch_layout.write_archive(self.path, {}, pickled=pickled)
    with self.assertRaisesRegex(ValueError, f"net.pth: .*{problem}"):
      read_state_dict(self.path)

  def test_a_tensor_beyond_its_storage_is_refused(self):
    pickled = torch_layout.pickled_state_dict({"w": np.ones(8, np.float32)})
    torch_layout.write_archive(
      self.path, {"w": np.ones(4, np.float32)}, pickled=pickled
    )
    with self.assertRaisesRegex(ValueError, "expected 8 numbers in storage 0"):
      read_state_dict(self.path)

  def test_a_view_that_repeats_its_storage_is_refused(self):
    wide = np.lib.stride_tricks.as_strided(
      np.ones(4, np.float32), (1000, 4), (0, 4)
    )
    pickled = torch_layout.pickled_state_dict({"w": wide})
    pickled = pickled.replace(b"J\xa0\x0f\x00\x00", b"J\x04\x00\x00\x00", 1)
    torch_layout.write_archive(
      self.path, {"w": np.ones(4, np.float32)}, pickled=pickled
    )
    with self.assertRaisesRegex(ValueError, "beyond its storage"):
      read_state_dict(self.path)

  @parameterized.named_parameters(*_WRITERS)
  def test_a_cut_off_file_is_named(self, write):
    write(self.path, some_arrays())
    content = self.path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 3):
      self.path.write_bytes(content[:length])
      with self.assertRaisesRegex(ValueError, "net.pth: "):
        read_state_dict(self.path)

  def test_a_plain_pickle_is_none_of_pytorch(self):
    self.path.write_bytes(pickle.dumps(5))
    with self.assertRaisesRegex(
      ValueError, "expected PyTorch's magic number, got 5"
    ):
      read_state_dict(self.path)

  def test_a_missing_file_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "net.pth: no such file"):
      read_state_dict(self.path)


@unittest.skipUnless(
  importlib.util.find_spec("torch"), "PyTorch is not installed"
)
class AgainstPyTorchTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_what_pytorch_saves_is_read(self, archive):
    import torch

    path = pathlib.Path(self.create_tempdir().full_path) / "net.pth"
    net = torch.nn.Sequential(
      torch.nn.Conv2d(3, 4, 3), torch.nn.PReLU(4), torch.nn.Linear(5, 6)
    )
    state = {"state_dict": net.state_dict(), "epoch": 3}
    torch.save(state, path, _use_new_zipfile_serialization=archive)
    found = read_state_dict(path)
    self.assertEqual(list(found), list(net.state_dict()))
    for name, tensor in net.state_dict().items():
      np.testing.assert_array_equal(found[name], tensor.numpy())

  @parameterized.named_parameters(*_WRITERS)
  def test_pytorch_reads_what_these_tests_write(self, write):
    import torch

    path = pathlib.Path(self.create_tempdir().full_path) / "net.pth"
    write(path, some_arrays())
    for name, tensor in torch.load(path, weights_only=True).items():
      np.testing.assert_array_equal(tensor.numpy(), some_arrays()[name])


if __name__ == "__main__":
  absltest.main()
