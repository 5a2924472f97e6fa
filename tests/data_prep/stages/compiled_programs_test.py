"""What one start compiled the next one takes, and nobody else's."""

import os
import pathlib
import stat
import subprocess
import sys
from unittest import mock

from absl.testing import absltest
import jax

from data_prep.stages import compiled_programs
from data_prep.stages.compiled_programs import ENVIRONMENT, keep_programs
from disentangle3d.types import UserError

# Prints how many programs came out of the folder, how many were compiled, and
# a result.
_PROGRAM = """
import jax, jax.numpy as jnp
from data_prep.stages.compiled_programs import keep_programs
counts = {}
def count(name, **_):
  counts[name] = counts.get(name, 0) + 1
jax.monitoring.register_event_listener(count)
keep_programs()
x = jnp.arange(12.0).reshape(3, 4)
made = jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x).T)(x).sum()
names = [f"/jax/compilation_cache/cache_{what}" for what in ("hits", "misses")]
print(*(counts.get(name, 0) for name in names), float(made))
"""


def start(folder):
  return subprocess.Popen(
    [sys.executable, "-c", _PROGRAM],
    env={
      **{k: v for k, v in os.environ.items() if not k.startswith("JAX_")},
      ENVIRONMENT: str(folder),
      "JAX_PLATFORMS": "cpu",
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def ended(process):
  output, errors = process.communicate(timeout=240)
  assert process.returncode == 0, errors
  hits, misses, made = output.split()
  return int(hits), int(misses), made, errors


class KeptProgramsTest(absltest.TestCase):
  def test_the_next_start_compiles_nothing(self):
    folder = pathlib.Path(self.create_tempdir().full_path) / "programs"
    # Two at once, into a folder that is not there yet.
    first, second = map(ended, (start(folder), start(folder)))
    self.assertGreater(first[1] + second[1], 0)
    self.assertEqual(first[2], second[2])
    (kind,) = folder.iterdir()
    self.assertIn(jax.__version__, kind.name)
    self.assertEqual(stat.S_IMODE(kind.stat().st_mode), 0o700)
    hits, misses, made, errors = ended(start(folder))
    self.assertGreater(hits, 0)
    self.assertEqual(misses, 0)
    self.assertEqual(made, first[2])
    self.assertEqual(errors, "")
    # One that a kill cut off is compiled again, once.
    entries = sorted(kind.glob("*-cache"))
    content = entries[0].read_bytes()
    entries[0].write_bytes(content[: len(content) // 2])
    self.assertEqual(ended(start(folder))[1:], (1, made, ""))
    self.assertEqual(ended(start(folder))[1], 0)

  def setUp(self):
    super().setUp()
    # As if nobody had told JAX of a folder by its own means.
    before = jax.config.jax_compilation_cache_dir
    self.addCleanup(jax.config.update, "jax_compilation_cache_dir", before)
    jax.config.update("jax_compilation_cache_dir", None)

  def test_a_folder_that_others_may_write_to_is_refused(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    folder.chmod(0o770)
    with self.assertRaisesRegex(UserError, "only you may write .* mode 770"):
      keep_programs(str(folder))
    with (
      mock.patch.dict(os.environ, {ENVIRONMENT: str(folder)}),
      self.assertRaisesRegex(UserError, "--compilation_cache=off"),
    ):
      keep_programs()
    # Nobody asked for the user's own folder: the work goes on without.
    environment = {"XDG_CACHE_HOME": str(folder), ENVIRONMENT: ""}
    (folder / "disentangle3d" / "programs").mkdir(parents=True)
    (folder / "disentangle3d" / "programs").chmod(0o777)
    with mock.patch.dict(os.environ, environment), self.assertLogs() as logs:
      self.assertIsNone(keep_programs())
    self.assertIn("are not kept", logs.output[0])
    self.assertIsNone(keep_programs("off"))
    self.assertIsNone(jax.config.jax_compilation_cache_dir)

  def test_another_processor_or_release_has_a_folder_of_its_own(self):
    own = compiled_programs._kind()
    with mock.patch.object(jax, "__version__", "99.0"):
      self.assertNotEqual(compiled_programs._kind(), own)
    other = "flags\t\t: fpu sse2\n"
    read = pathlib.Path.read_text

    def read_text(path: pathlib.Path, *args, **kwargs) -> str:
      if path == pathlib.Path("/proc/cpuinfo"):
        return other
      return read(path, *args, **kwargs)

    with mock.patch.object(pathlib.Path, "read_text", read_text):
      self.assertNotEqual(compiled_programs._kind(), own)

  def test_what_was_not_used_for_longest_goes(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    for number in range(4):
      path = root / f"kind{number % 2}" / f"{number}-cache"
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(bytes(100))
      os.utime(path, (1000 - number, 1000 - number))
    compiled_programs._drop_oldest(root, 250)
    left = sorted(path.name for path in root.glob("*/*"))
    self.assertEqual(left, ["0-cache", "1-cache"])


if __name__ == "__main__":
  absltest.main()
