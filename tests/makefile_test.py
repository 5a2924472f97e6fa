"""What make would do, in a copy of what it looks at."""

import pathlib
import shutil
import subprocess

from absl.testing import absltest

from tests.fixtures import REPOSITORY


@absltest.skipIf(not shutil.which("make"), "make is not installed")
class MakefileTest(absltest.TestCase):
  def _would(self, folder: pathlib.Path, *arguments: str) -> str:
    return subprocess.run(
      ["make", "--dry-run", *arguments],
      cwd=folder,
      capture_output=True,
      text=True,
      timeout=60,
      check=True,
    ).stdout

  def test_an_extra_is_installed_once(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    for name in ("pyproject.toml", "Makefile"):
      shutil.copy(REPOSITORY / name, folder)
    (folder / ".venv").mkdir()
    (folder / ".venv" / ".installed").touch()
    self.assertNotIn("--editable", self._would(folder, "demo"))
    extra = self._would(folder, "demo", "EXTRAS=cuda12")
    self.assertIn('--editable ".[detect,cuda12]"', extra)
    stamp = extra.partition("touch ")[2].split()[0]
    (folder / stamp).touch()
    again = self._would(folder, "demo", "EXTRAS=cuda12")
    self.assertNotIn("--editable", again)
    self.assertIn("experiments.demo", again)


if __name__ == "__main__":
  absltest.main()
