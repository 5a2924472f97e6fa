"""A package that is not installed is the user's to install, told in a line."""

import importlib.util
from unittest import mock

from absl.testing import absltest, parameterized

from data_prep.faces.dlib_locator import DlibLocator
from data_prep.faces.mtcnn.weights import load_weights
from data_prep.fitting.eos_fitter import EosFitter
from data_prep.stages.extras import require
from disentangle3d.types import UserError
from tests.fixtures import random_morphable_model, run_program

_find_spec = importlib.util.find_spec


def _without(*names: str) -> object:
  def find_spec(name: str, package: str | None = None) -> object:
    return None if name in names else _find_spec(name, package)

  return mock.patch.object(importlib.util, "find_spec", find_spec)


class RequireTest(parameterized.TestCase):
  def test_what_is_there_is_enough(self):
    require("detect", "to see", "json", "numpy")

  def test_only_what_is_missing_is_named(self):
    with self.assertRaisesRegex(
      UserError,
      r"^nobody_has_it needed to see: .* 'disentangle3d\[detect\]'\)$",
    ):
      require("detect", "to see", "json", "nobody_has_it")

  @parameterized.parameters(
    (load_weights, "lz4"),
    (DlibLocator, "dlib"),
    (lambda: EosFitter(random_morphable_model()), "eos"),
  )
  def test_those_who_need_one_say_so(self, make, package):
    with _without(package), self.assertRaisesRegex(UserError, package):
      make()

  def test_a_binary_ends_with_one_line(self):
    code = (
      "import sys; from data_prep.stages import command_line, extras;"
      "command_line.run(lambda: extras.require('detect', 'to see', 'nobody'))"
    )
    done = run_program(code)
    self.assertEqual(done.returncode, 1)
    self.assertStartsWith(done.stderr, "ERROR: nobody needed to see: ")
    self.assertLen(done.stderr.splitlines(), 1)


if __name__ == "__main__":
  absltest.main()
