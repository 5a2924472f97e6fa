import os
import pathlib
import pickle
import pickletools
import struct
import tempfile

from absl.testing import absltest, parameterized
from hypothesis import given, settings, strategies
import numpy as np

from data_prep.files.restricted_pickle import Inert, load_pickle

_DATA = {
  "numbers": [1, -(2**70), 2.5, True, None],
  "texts": ("plain", "J\u00e4ger"),
  "bytes": [b"\x89PNG\r\n", b"\xff" * 300, b""],
}


class _Runs:
  """Pickles as a call of a function."""

  def __init__(self, function, *arguments):
    self._call = function, arguments

  def __reduce__(self):
    return self._call


class LoadPickleTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3, 4, 5)
  def test_plain_data_of_every_protocol(self, protocol):
    content = pickle.dumps(_DATA, protocol)
    self.assertEqual(load_pickle(content, where="f"), _DATA)

  def test_python_2_strings_are_bytes_or_text_as_asked(self):
    # Protocol 2, SHORT_BINSTRING: what cPickle writes for a str.
    content = b"\x80\x02]q\x01(U\x03\xff\xd8\xe4q\x02U\x01aq\x03e."
    self.assertEqual(load_pickle(content, where="f"), [b"\xff\xd8\xe4", b"a"])
    self.assertEqual(
      load_pickle(content, where="f", encoding="latin1"), ["ÿØä", "a"]
    )

    # Protocol 0, STRING: escapes, quotes of either kind, and bytes as they are.
    content = b"(lS'\\xff\\xd8\\\\\\n\\''\naS\"it's \xe4\"\na."
    strings = [b"\xff\xd8\\\n'", b"it's \xe4"]
    self.assertEqual(load_pickle(content, where="f"), strings)
    self.assertEqual(
      load_pickle(content, where="f", encoding="latin1"),
      [string.decode("latin1") for string in strings],
    )

  @parameterized.parameters(0, 1, 2)
  def test_bytes_of_python_3_in_old_protocols(self, protocol):
    for fix_imports in (True, False):  # __builtin__.bytes, builtins.bytes
      content = pickle.dumps([b"", b"\xff"], protocol, fix_imports=fix_imports)
      self.assertEqual(load_pickle(content, where="f"), [b"", b"\xff"])

  def test_what_follows_the_end_is_ignored(self):
    self.assertEqual(load_pickle(pickle.dumps(3) + b"rest", where="f"), 3)

  @parameterized.product(protocol=(0, 1, 2, 3, 4, 5), kind=("os", "eval"))
  def test_code_is_never_run(self, protocol, kind):
    with tempfile.TemporaryDirectory() as scratch:
      path = pathlib.Path(scratch) / "made"
      call = {
        "os": _Runs(os.mkdir, str(path)),
        "eval": _Runs(eval, f"open({str(path)!r}, 'w')"),
      }[kind]
      content = pickle.dumps([1, call], protocol)
      with self.assertRaisesRegex(
        ValueError,
        r"^set\.bin: expected a pickle of plain data, got one that asks for"
        r" (posix|builtins|__builtin__)\.(mkdir|eval) at byte \d+$",
      ) as caught:
        load_pickle(content, where="set.bin")
      self.assertFalse(path.exists())
      position = int(str(caught.exception).split()[-1])
      named = [
        p
        for op, _, p in pickletools.genops(content)
        if op.name.endswith("GLOBAL")
      ]
      self.assertEqual([position], named)

  def test_numpy_is_not_plain_data(self):
    with self.assertRaisesRegex(ValueError, r"asks for numpy\.\w+"):
      load_pickle(pickle.dumps(np.float64(1.5)), where="f")

  def test_stand_ins_take_the_place_of_names(self):
    content = (
      b"\x80\x02]q\x01("
      b"cchumpy.ch\nCh\nq\x02)\x81q\x03}q\x04U\x01xK\x05sb"  # NEWOBJ, BUILD
      b"cchumpy.other\nThing\nK\x07\x85R"  # REDUCE
      b"cmath\nsqrt\nK\x09\x85Re."
    )
    known, other, ninth = load_pickle(
      content,
      where="f",
      stand_ins={
        "chumpy.ch.Ch": Inert,
        "chumpy.*": lambda *arguments: arguments,
        "math.sqrt": lambda number: -number,
      },
    )
    self.assertIsInstance(known, Inert)
    self.assertEqual(known.state, {b"x": 5})
    self.assertEqual((other, ninth), ((7,), -9))
    with self.assertRaisesRegex(ValueError, r"chumpy\.ch\.Ch at byte 6$"):
      load_pickle(content, where="f", stand_ins={"scipy.*": Inert})

  def test_stand_ins_cannot_be_changed(self):
    def function():
      return 0

    for state in (b"}U\x01xK\x05s", b"N}U\x0c__defaults__)s\x86"):
      for stand_in in (function, Inert):
        with self.assertRaisesRegex(ValueError, "TypeError"):
          load_pickle(
            b"\x80\x02cmath\nsqrt\n" + state + b"b.",
            where="f",
            stand_ins={"math.sqrt": stand_in},
          )
    self.assertEmpty(vars(function))
    self.assertFalse(hasattr(Inert, "x"))

  @parameterized.named_parameters(
    ("empty", b"", "damaged at byte 0 "),
    ("no_pickle", b"\xff\xd8\xff\xe0", "damaged at byte 0 "),
    ("cut", pickle.dumps(_DATA)[:-40], r"damaged at byte \d\d+ "),
    ("cut_number", b"\x80\x02]J\1\2", "damaged at byte 3 "),
    ("unknown_opcode", b"\x80\x02]\xf0.", "damaged at byte 3 "),
    ("lying_length", b"\x80\x02T\xff\xff\xff\x7fabc.", "damaged at byte 2 "),
    (
      "lying_length_of_8",
      b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fa.",
      "damaged at byte 2 ",
    ),
    (
      "greater_index",
      b"\x80\x02K\x01r\xff\xff\xff\xff.",
      "memo index 42949672",
    ),
    ("persistent", b"\x80\x02K\x01Q.", "BINPERSID at byte 4"),
    ("extension", b"\x80\x02\x82\x01.", "EXT1 at byte 2"),
    ("instance", b"(imath\nsqrt\n.", "INST at byte 1"),
    ("stack_runs_empty", b"\x80\x02e.", r"cannot be read \(before byte 3, "),
    ("memo_without_entry", b"\x80\x02h\x05.", r"read \(before byte 4, "),
    ("list_as_key", b"\x80\x02}]K\x01s.", r"read \(before byte 7, "),
    ("bad_escape", b"(lS'\\x'\na.", r"read \(before byte 8, "),
    (
      "other_encoding",
      b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05"
      b"\x00\x00\x00utf-7\x86R.",
      "expected latin1, got utf-7",
    ),
  )
  def test_damage_is_named(self, content, message):
    with self.assertRaisesRegex(ValueError, rf"^set\.bin: .*{message}"):
      load_pickle(content, where="set.bin")

  @settings(max_examples=150, derandomize=True, deadline=None, database=None)
  @given(strategies.data())
  def test_any_bytes_give_data_or_a_value_error(self, data):
    whole = pickle.dumps(_DATA, data.draw(strategies.integers(0, 5)))
    spoilt = bytearray(whole)
    for _ in range(data.draw(strategies.integers(0, 4))):
      at = data.draw(strategies.integers(0, len(whole) - 1))
      spoilt[at] = data.draw(strategies.integers(0, 255))
    rest = data.draw(strategies.binary(max_size=40))
    content = bytes(spoilt) + rest
    if data.draw(strategies.booleans()):
      content = rest + struct.pack("<I", len(rest)) + bytes(spoilt)
    try:
      load_pickle(content, where="set.bin", stand_ins={"numpy.*": Inert})
    except ValueError as error:
      self.assertStartsWith(str(error), "set.bin: ")


if __name__ == "__main__":
  absltest.main()
