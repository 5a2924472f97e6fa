import os
import pathlib
import pickle
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.evaluation_sets.verification_bin import read_verification_bin

IMAGES = [
  b"",
  bytes(range(256)),
  b"\xff\xd8 '\"\\ \r\n\x1a \xff\xd9",
  b"x" * 70_000,
  bytes(range(256)),
  b"\0" * 255,
]
SAME = [True, False, True]


class _Evil:
  def __init__(self, function, *arguments):
    self._call = (function, arguments)

  def __reduce__(self):
    return self._call


class VerificationBinTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.path = self.folder / "lfw.bin"

  @parameterized.parameters(*range(pickle.HIGHEST_PROTOCOL + 1))
  def test_images_and_pairs_come_back_of_every_protocol(self, protocol):
    images = [*IMAGES[:-1], IMAGES[0]]  # one of them twice: from the memo
    for content in ((images, SAME), [tuple(images), tuple(SAME)]):
      self.path.write_bytes(pickle.dumps(content, protocol))
      found = read_verification_bin(self.path)
      self.assertEqual(found.images, tuple(images))
      np.testing.assert_array_equal(found.same, SAME)
      self.assertEqual(found.same.dtype, bool)

  def test_images_in_an_array_of_bytes_and_none_for_no_face(self):
    images = [IMAGES[1], IMAGES[2]] * 2
    self.path.write_bytes(pickle.dumps((np.array(images), [True, False])))
    self.assertEqual(read_verification_bin(self.path).images, tuple(images))
    images[2] = None
    self.path.write_bytes(pickle.dumps((images, [True, False])))
    self.assertEqual(read_verification_bin(self.path).images[2], b"")

  @parameterized.product(
    protocol=list(range(pickle.HIGHEST_PROTOCOL + 1)), numpy_core=[1, 2]
  )
  def test_what_people_pack_of_their_own_is_read(self, protocol, numpy_core):
    codes = [
      np.frombuffer(image, np.uint8).copy() for image in IMAGES if image
    ] + [np.zeros(3, np.uint8)]
    objects = np.empty(len(codes), object)
    objects[:] = codes
    packed = [
      codes,  # what cv2.imencode gives
      [code[:, None] for code in codes],  # and older OpenCV
      objects,
      [bytearray(code) for code in codes],
    ]
    labels = [
      [1, 0, 1],
      [np.bool_(True), np.bool_(False), np.bool_(True)],
      np.array(SAME),
      np.array([1.0, 0.0, 1.0]),
      (np.int64(1), 0, True),
    ]
    for images in packed:
      for same in labels:
        content = pickle.dumps((images, same), protocol)
        if numpy_core == 1 and protocol < 4:
          content = content.replace(b"numpy._core.", b"numpy.core.")
        self.path.write_bytes(content)
        found = read_verification_bin(self.path)
        self.assertEqual(found.images, tuple(map(bytes, codes)))
        self.assertEqual(found.same.tolist(), SAME)
        self.assertEqual(found.same.dtype, bool)

  @parameterized.named_parameters(
    # What Python 2 writes for (["a\xff", "it's"], [True]).
    (
      "protocol_0",
      b"((lp0\nS'a\\xff'\np1\naS\"it's\"\np2\na(lp3\nI01\natp4\n.",
    ),
    (
      "protocol_2",
      b"\x80\x02]q\x00(U\x02a\xffq\x01U\x04it'sq\x02e]q\x03\x88a\x86q\x04.",
    ),
    ("long", b"\x80\x02](T\2\0\0\0a\xffT\4\0\0\0it'se]\x88a\x86."),
  )
  def test_what_python_2_wrote_is_read(self, content):
    self.path.write_bytes(content)
    found = read_verification_bin(self.path)
    self.assertEqual(found.images, (b"a\xff", b"it's"))
    np.testing.assert_array_equal(found.same, [True])

  @parameterized.parameters(*range(pickle.HIGHEST_PROTOCOL + 1))
  def test_a_pickle_with_code_in_it_is_refused_and_not_run(self, protocol):
    touched = self.folder / "touched"
    for evil in (
      _Evil(os.system, f"touch {touched}"),
      _Evil(eval, f"open({str(touched)!r}, 'w')"),
      _Evil(pathlib.Path.touch, touched),
      _Evil(bytes, 1 << 40),
    ):
      self.path.write_bytes(pickle.dumps(([evil, b""], [True]), protocol))
      with self.assertRaisesRegex(
        ValueError, r"lfw.bin: expected a pickle of plain data, got one"
      ):
        read_verification_bin(self.path)
    self.assertFalse(touched.exists())

  @parameterized.named_parameters(
    ("call", b"c_codecs\nencode\n(Va\nVutf-8\ntR."),
    ("call_of_a_list", b"](tR."),
    ("number", b"K\1."),
    ("text", b"hello"),
    ("empty", b""),
    ("lying_length", b"B\xff\xff\xff\x7fabc."),
    ("long_lie", b"\x8e" + b"\xff" * 8 + b"."),
    ("no_memo", b"h\7."),
    ("huge_memo", b"]r\xff\xff\xff\xff."),
    ("nothing", b"."),
    ("no_mark", b"]e."),
    ("no_list", b"C\1aC\1ba."),
    ("no_end", b"S'abc'"),
    ("no_quotes", b"Sabc\n."),
  )
  def test_a_broken_pickle_is_named(self, content):
    self.path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, "lfw.bin: expected "):
      read_verification_bin(self.path)

  @parameterized.named_parameters(
    ("one_list", [b"a", b"b", b"c"], "expected images and bools"),
    ("text", (["a", "b"], [True]), "image 0: expected the bytes of an image"),
    ("no_bools", ([b"a", b"b"], [b"a"]), "pair 0: expected a bool, 0 or 1"),
    ("other_number", ([b"a", b"b"], [2]), "pair 0: expected a bool, .*'2'"),
    (
      "several_numbers",
      ([b"a", b"b"], [np.ones(2)]),
      "pair 0: expected a bool, 0 or 1",
    ),
    (
      "picture",
      ([b"a", np.zeros((2, 3), np.uint8)], [1]),
      r"image 1: expected the bytes of an image, got an array \[2, 3\]",
    ),
    (
      "floats",
      ([b"a", np.zeros(3)], [1]),
      r"image 1: expected the bytes of an image, got an array \[3\] of float",
    ),
    ("a_number", ([b"a", b"b"], np.bool_(1)), "bools: expected a list or an"),
    ("no_list", ({}, [1]), "images: expected a list or an array, got a dict"),
    ("three", ([b"a", b"b", b"c"], [True]), ".*got 3 images and 1 pairs"),
    ("none", ([], []), ".*got 0 images and 0 pairs"),
  )
  def test_other_lists_are_refused(self, content, problem):
    self.path.write_bytes(pickle.dumps(content))
    with self.assertRaisesRegex(ValueError, f"lfw.bin: {problem}"):
      read_verification_bin(self.path)

  def test_a_missing_file_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "lfw.bin: no such file"):
      read_verification_bin(self.path)


if __name__ == "__main__":
  absltest.main()
