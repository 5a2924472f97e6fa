import pathlib
import struct
import tempfile
from unittest import mock
import zlib

from absl.testing import absltest, parameterized
import numpy as np
import scipy.io

from data_prep.files import matlab
from data_prep.files.matlab import read_mat

RNG = np.random.default_rng(0)
VARIABLES = {
  "double": RNG.normal(size=(3, 5)),
  "small": np.array([[3.0]]),  # stored in fewer bytes than a double
  "cube": RNG.normal(size=(4, 3, 2)),
  "single": RNG.normal(size=(2, 2)).astype(np.float32),
  **{
    f"int{bits}": RNG.integers(-100, 100, (3, 2)).astype(f"i{bits // 8}")
    for bits in (8, 16, 32, 64)
  },
  "uint16": np.arange(60_000, 60_006, dtype=np.uint16).reshape(2, 3),
  "empty": np.zeros((0, 3)),
}


def element(kind: int, data: bytes, order="<") -> bytes:
  """One element in its long form."""
  return (
    struct.pack(f"{order}2I", kind, len(data)) + data + bytes(-len(data) % 8)
  )


def variable(
  name: bytes, shape, *content: bytes, kind=6, flags=0, order="<"
) -> bytes:
  """A variable, class double unless said otherwise."""
  return element(
    14,
    element(6, struct.pack(f"{order}2I", flags << 8 | kind, 0), order)
    + element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    + element(1, name, order)
    + b"".join(content),
    order,
  )


def mat_bytes(*elements: bytes, order="<") -> bytes:
  head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x0100)
  return head + (b"IM" if order == "<" else b"MI") + b"".join(elements)


class MatlabTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "a.mat"

  @parameterized.named_parameters(("plain", False), ("compressed", True))
  def test_numbers_are_those_that_scipy_wrote(self, compressed):
    scipy.io.savemat(self.path, VARIABLES, do_compression=compressed)
    found = read_mat(self.path, tuple(VARIABLES))
    self.assertEqual(found.keys(), VARIABLES.keys())
    for name, value in VARIABLES.items():
      self.assertEqual(found[name].dtype, np.float64)
      np.testing.assert_array_equal(found[name], value, err_msg=name)

  def test_objects_of_matlabs_own_are_passed_over(self):
    # A table, as MATLAB writes it: names in place of dimensions.
    thing = element(
      14,
      element(6, struct.pack("<2I", 17, 0))
      + element(1, b"t")
      + element(1, b"MCOS")
      + element(1, b"table")
      + variable(b"", (1, 1), element(6, struct.pack("<I", 1)), kind=13),
    )
    numbers = variable(b"x", (1, 2), element(9, struct.pack("<2d", 1, 2)))
    self.path.write_bytes(mat_bytes(thing, numbers))
    np.testing.assert_array_equal(
      read_mat(self.path, ("x",))["x"], scipy.io.loadmat(self.path)["x"]
    )

  @parameterized.named_parameters(("plain", False), ("compressed", True))
  def test_texts_and_cells_are_those_that_scipy_wrote(self, compressed):
    names = ["Aaron_Eckhart/0", "a", "Zoë/3", ""]
    mixed = np.empty((2, 2), object)
    mixed[:] = [["first", np.eye(2)], ["second", np.array([[7.0]])]]
    scipy.io.savemat(
      self.path,
      {
        "names": np.array(names, object)[:, None],
        "text": "a note",
        "mixed": mixed,
        "other": {"a": 1},  # a struct, which nobody asks for
      },
      do_compression=compressed,
    )
    found = read_mat(self.path, ("names", "text", "mixed", "missing"))
    self.assertEqual(found.keys(), {"names", "text", "mixed"})
    self.assertEqual(found["names"], names)
    self.assertEqual(found["text"], "a note")
    self.assertEqual(found["mixed"][:2], ["first", "second"])
    np.testing.assert_array_equal(found["mixed"][2], np.eye(2))
    np.testing.assert_array_equal(found["mixed"][3], [[7]])
    with self.assertRaisesRegex(
      ValueError, "other: expected real num.*class 2"
    ):
      read_mat(self.path, ("other",))

  def test_either_byte_order_is_read(self):
    for order in "<>":
      numbers = element(9, struct.pack(f"{order}3d", 1.5, -2, 4), order)
      # Type (u16) and length share four bytes, as one number of that order.
      short = struct.pack(f"{order}IH2x", 2 << 16 | 4, 513)
      self.path.write_bytes(
        mat_bytes(
          variable(b"a", (1, 3), numbers, order=order),
          variable(b"b", (1, 1), short, order=order),
          order=order,
        )
      )
      found = read_mat(self.path, ("a", "b"))
      np.testing.assert_array_equal(found["a"], [[1.5, -2, 4]])
      np.testing.assert_array_equal(found["b"], [[513]])
      # Where scipy agrees, the bytes above are right.
      np.testing.assert_array_equal(
        scipy.io.loadmat(self.path)["b"], found["b"]
      )

  @parameterized.named_parameters(
    ("empty", b"", "expected a MATLAB 5 to 7 file, got none"),
    ("text", b"hello" * 40, "expected a MATLAB 5 to 7 file, got none"),
    ("v73", b"MATLAB 7.3 MAT-file".ljust(126) + b"?!", "version 7.3 .save it"),
    ("cut", mat_bytes(variable(b"a", (1, 1)))[:-20], "byte 128: expected 48 b"),
    ("kind", mat_bytes(element(99, b"")), "byte 136: expected a variable.*99"),
    ("tag", mat_bytes(b"abc"), "byte 128: expected an element, got the end"),
    ("short", mat_bytes(struct.pack("<HHI", 1, 5, 0)), "up to 4 bytes, got 5"),
    (
      "lying_shape",
      mat_bytes(variable(b"a", (2**31 - 1,) * 3, element(9, bytes(8)))),
      "a: expected 9903520300447984150353281023 numbers, got 1",
    ),
    ("negative", mat_bytes(variable(b"a", (-1, 2))), "variable's dimensions"),
    (
      "lying_cells",
      mat_bytes(variable(b"a", (2**31 - 1, 2**31 - 1), kind=1)),
      "a: expected 4611686014132420609 cells, got 0 bytes",
    ),
    (
      "lying_length",
      mat_bytes(variable(b"a", (1, 1), struct.pack("<2I", 9, 2**32 - 1))),
      "byte 184: expected 4294967295 bytes, got 0 to the end",
    ),
    (
      "odd_length",
      mat_bytes(variable(b"a", (1, 1), element(9, bytes(7)))),
      "expected numbers of 8 bytes, got 7",
    ),
    (
      "complex",
      mat_bytes(variable(b"a", (1, 1), flags=8)),
      "a: expected real numbers",
    ),
    (
      "two_lines",
      mat_bytes(variable(b"a", (2, 1), element(16, b"ab"), kind=4)),
      "a: expected one line of text, got 2",
    ),
    (
      "bad_text",
      mat_bytes(variable(b"a", (1, 1), element(16, b"\xff"), kind=4)),
      "byte 192: a: 'utf-8' codec",
    ),
    (
      "no_zlib",
      mat_bytes(element(15, b"abcdefgh")),
      "byte 136: compressed var",
    ),
    (
      "half_a_zlib",
      mat_bytes(element(15, zlib.compress(bytes(999))[:8])),
      "expected its end within",
    ),
  )
  def test_a_broken_file_is_named(self, content, problem):
    self.path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, f"a.mat.*{problem}"):
      read_mat(self.path, ("a",))

  def test_a_compressed_bomb_is_not_unpacked(self):
    content = variable(b"a", (1, 1), element(9, bytes(8)))
    bomb = element(15, zlib.compress(content + bytes(99_999)))
    self.path.write_bytes(mat_bytes(bomb))
    with mock.patch.object(matlab, "_MOST_BYTES", 10_000):
      with self.assertRaisesRegex(
        ValueError, "expected its end within 10000 bytes, got 10000 without"
      ):
        read_mat(self.path, ("a",))

  def test_cells_nested_too_deep_or_in_themselves_end(self):
    inner = variable(b"", (1, 1), element(9, bytes(8)))
    for _ in range(3):
      inner = variable(b"", (1, 1), inner, kind=1)
    self.path.write_bytes(mat_bytes(variable(b"a", (1, 1), inner, kind=1)))
    self.assertEqual(read_mat(self.path, ("a",))["a"][0][0][0][0], 0)
    for _ in range(2000):
      inner = variable(b"", (1, 1), inner, kind=1)
    self.path.write_bytes(mat_bytes(variable(b"a", (1, 1), inner, kind=1)))
    with self.assertRaisesRegex(ValueError, "expected real numbers.*class 1"):
      read_mat(self.path, ("a",))
    packed = mat_bytes(variable(b"a", (1, 1)))[128:]
    for _ in range(20):
      packed = element(15, zlib.compress(packed))
    self.path.write_bytes(mat_bytes(packed))
    with self.assertRaisesRegex(ValueError, "expected a variable, got type 15"):
      read_mat(self.path, ("a",))


if __name__ == "__main__":
  absltest.main()
