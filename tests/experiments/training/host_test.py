import ctypes.util
import platform

from absl.testing import absltest

from tests.fixtures import run_program


class HostMemoryTest(absltest.TestCase):
  def test_glibc_takes_the_settings_and_others_are_left_alone(self):
    # In a process of its own: the settings cannot be taken back.
    program = (
      "from experiments.training.host import keep_freed_memory;"
      "print(keep_freed_memory())"
    )
    result = run_program(program)
    self.assertEqual(result.returncode, 0, result.stderr)
    if platform.libc_ver()[0] == "glibc" and ctypes.util.find_library("c"):
      self.assertEqual(result.stdout.strip(), "True")


if __name__ == "__main__":
  absltest.main()
