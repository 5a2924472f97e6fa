import argparse
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
      "no tensor in it .objects of posix.system are passed over",
    ),
    (
      "another_class",
      b"\x80\x02ctorch.nn\nLinear\n)R.",
      "no tensor in it .objects of torch.nn.Linear are passed over",
    ),
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


def inside(value) -> bytes:
  """A value as part of a pickle."""
  return pickle.dumps(value, protocol=2)[2:-1]


class CheckpointTest(parameterized.TestCase):
  """What training scripts save around a network."""

  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(self.create_tempdir().full_path) / "net.ckpt"

  def check(self, saved, *, write=torch_layout.write_archive, entry=None):
    write(self.path, saved)
    found = read_state_dict(self.path, entry=entry)
    self.assertEqual(list(found), list(some_arrays()))
    for name, array in some_arrays().items():
      np.testing.assert_array_equal(found[name], array)

  @parameterized.named_parameters(*_WRITERS)
  def test_the_mapping_with_the_most_tensors_is_found(self, write):
    optimizer = {
      "state": {"0": {"exp_avg": np.ones(3), "exp_avg_sq": np.ones(3)}},
      "param_groups": inside([{"lr": 0.1, "params": [0]}]),
    }
    saved = {
      "iter": inside(12000),
      "net_state_dict": some_arrays(),
      "optimizer": optimizer,
    }
    self.check(saved, write=write)

  @parameterized.parameters(
    "net_state_dict", "state_dict", "backbone", "netG", "anything"
  )
  def test_whatever_it_is_called(self, name):
    self.check({"epoch": inside(3), name: some_arrays()})

  @parameterized.parameters(
    "module.", "model.", "module.module.", "model.backbone.", "face_net.trunk."
  )
  def test_a_common_prefix_is_stripped(self, prefix):
    arrays = {f"{prefix}{n}": array for n, array in some_arrays().items()}
    if prefix == "face_net.trunk.":
      # "steps" would leave "face_net.trunk" a layer's name.
      arrays[f"{prefix}some.steps"] = arrays.pop(f"{prefix}steps")
      torch_layout.write_archive(self.path, arrays)
      found = list(read_state_dict(self.path))
      self.assertEqual(found, ["conv1_1.weight", "fc5.bias", "some.steps"])
    else:
      self.check(arrays)

  def test_a_layers_own_name_is_none(self):
    arrays = {"fc5.weight": np.ones((2, 2)), "fc5.bias": np.ones(2)}
    torch_layout.write_archive(self.path, arrays)
    self.assertEqual(list(read_state_dict(self.path)), list(arrays))

  @parameterized.named_parameters(*_WRITERS)
  def test_objects_of_others_do_nothing(self, write):
    self.check(
      {
        "options": inside(argparse.Namespace(lr=0.1, gpus=[0, 1])),
        "best": inside(np.float64(0.988)),
        "where": inside(pathlib.PurePosixPath("runs/1")),
        "state_dict": some_arrays(),
        # A list and a dict of unknown classes, filled.
        "list": b"capex\nList\n)R(K\x01K\x02e",
        "dict": b"capex\nDict\n)R(K\x01K\x02u",
      },
      write=write,
    )

  def test_a_state_dict_of_another_class_is_found(self):
    pickled = torch_layout.pickled_state_dict({"net": some_arrays()})
    pickled = pickled.replace(b"collections\nOrderedDict", b"apex\nDict")
    torch_layout.write_archive(self.path, some_arrays(), pickled=pickled)
    self.assertEqual(list(read_state_dict(self.path)), list(some_arrays()))

  def test_of_two_as_large_the_user_chooses(self):
    other = {name: array + 1 for name, array in some_arrays().items()}
    saved = {"model": some_arrays(), "ema": {"shadow": other}}
    torch_layout.write_archive(self.path, saved)
    with self.assertRaisesRegex(
      ValueError,
      "net.ckpt: .*got 2 of 3 tensors each: model, ema.shadow; .*--entry",
    ):
      read_state_dict(self.path)
    self.check(saved, entry="model")
    np.testing.assert_array_equal(
      read_state_dict(self.path, entry="ema.shadow")["steps"], [4]
    )
    with self.assertRaisesRegex(ValueError, "under 'emma', there is one under"):
      read_state_dict(self.path, entry="emma")

  @parameterized.named_parameters(*_WRITERS)
  def test_bfloat16_is_widened(self, write):
    # 1, -2.5 and the 1/3 nearest in 8 bits, from the format's definition.
    bits = np.array([0x3F80, 0xC020, 0x3EAB], "<u2")
    write(self.path, {"conv.weight": bits, "fc.bias": np.ones(2)})
    found = read_state_dict(self.path)["conv.weight"]
    self.assertEqual(found.dtype, np.float32)
    np.testing.assert_array_equal(found, [1, -2.5, 171 / 512])

  def test_a_kind_of_numbers_that_is_not_read_is_named(self):
    pickled = torch_layout.pickled_state_dict({"a.b": np.ones(2)})
    pickled = pickled.replace(b"DoubleStorage", b"ComplexFloatStorage")
    torch_layout.write_archive(self.path, {}, pickled=pickled)
    with self.assertRaisesRegex(ValueError, "ComplexFloatStorage, expected"):
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

  @parameterized.parameters(True, False)
  def test_a_checkpoint_of_pytorch_is_read(self, archive):
    import torch

    path = pathlib.Path(self.create_tempdir().full_path) / "net.pth"
    net = torch.nn.Sequential(
      torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(5, 6)
    ).to(torch.bfloat16)
    optimizer = torch.optim.Adam(net.parameters())
    sum(p.sum() for p in net.parameters()).backward()
    optimizer.step()
    saved = {
      "net_state_dict": torch.nn.DataParallel(net).state_dict(),
      "optimizer": optimizer.state_dict(),
      "arguments": argparse.Namespace(device=torch.device("cpu")),
      "accuracy": np.float32(0.9),
    }
    torch.save(saved, path, _use_new_zipfile_serialization=archive)
    found = read_state_dict(path)
    self.assertEqual(list(found), list(net.state_dict()))
    for name, tensor in net.state_dict().items():
      np.testing.assert_array_equal(found[name], tensor.float().numpy())

  @parameterized.named_parameters(*_WRITERS)
  def test_pytorch_reads_what_these_tests_write(self, write):
    import torch

    path = pathlib.Path(self.create_tempdir().full_path) / "net.pth"
    write(path, some_arrays())
    for name, tensor in torch.load(path, weights_only=True).items():
      np.testing.assert_array_equal(tensor.numpy(), some_arrays()[name])


if __name__ == "__main__":
  absltest.main()
