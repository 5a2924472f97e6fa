"""The C library's memory, where it is glibc."""

import ctypes.util
import platform

from absl.testing import absltest

from disentangle3d.machine import return_freed_memory
from tests.fixtures import run_program

_GLIBC = platform.libc_ver()[0] == "glibc" and ctypes.util.find_library("c")


class MemoryTest(absltest.TestCase):
  def test_glibc_takes_the_settings_and_others_are_left_alone(self):
    # In a process of its own: the settings cannot be taken back.
    program = (
      "from disentangle3d.machine import keep_freed_memory;"
      "print(keep_freed_memory())"
    )
    result = run_program(program)
    self.assertEqual(result.returncode, 0, result.stderr)
    if _GLIBC:
      self.assertEqual(result.stdout.strip(), "True")

  def test_what_is_freed_goes_back(self):
    if not _GLIBC:
      self.skipTest("the C library is not glibc")

    def resident() -> int:
      with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096

    # Small pieces under one that stays, which malloc would keep.
    pieces = [bytes(100_000) for _ in range(1_000)]
    last = bytes(100_000)
    before = resident()
    del pieces
    kept = resident()
    self.assertTrue(return_freed_memory())
    self.assertLess(resident(), before - 50_000_000)
    self.assertLess(resident(), kept)
    self.assertLen(last, 100_000)


if __name__ == "__main__":
  absltest.main()
