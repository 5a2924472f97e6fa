"""What is wrong with a config on the command line is told in one line."""

import contextlib
import importlib
import io
import os
import pathlib
import sys
from unittest import mock

from absl import app, flags
from absl.testing import absltest, parameterized

from data_prep.stages import command_line, flag_words
from experiments import configs

_SMOKE = "--config=experiments/configs/smoke.py"
_LATENTS = "--config.phases.latents"


def _start(binary, *arguments):
  """What a binary says of its command line, and its config if nothing."""
  module = importlib.import_module(f"experiments.{binary}")
  before, errors = set(flags.FLAGS), io.StringIO()
  words = [f"experiments.{binary}", "--workdir=/nowhere", *arguments]
  with contextlib.ExitStack() as stack:
    stack.enter_context(mock.patch.object(sys, "argv", words))
    stack.enter_context(mock.patch.object(sys, "stdout", sys.stdout))
    stack.enter_context(mock.patch.dict(flag_words._OLD, clear=True))
    stack.enter_context(contextlib.redirect_stderr(errors))
    parse = stack.enter_context(mock.patch.object(app, "run"))
    parse.side_effect = lambda main, flags_parser: flags_parser(sys.argv)
    try:
      command_line.run(module.main, module.define_flags)
      return errors.getvalue(), flags.FLAGS.config
    except SystemExit as ended:
      return errors.getvalue(), ended.code
    finally:
      # A second load of a config would add to the first.
      sys.modules.pop("config_config", None)
      for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


class ConfigFlagTest(parameterized.TestCase):
  def _told(self, message, binary, *arguments):
    told, status = _start(binary, *arguments)
    self.assertEqual(status, 1)
    self.assertRegex(told, rf"\AERROR: {message}[^\n]*\n\Z")

  @parameterized.product(
    binary=("train", "paper_scale"),
    case=(
      ("model.trunc=tiny", "model.trunc: no such key; did you mean trunk?"),
      ("modle.trunk=tiny", "modle.trunk: no such key; did you mean model?"),
      ("nope=1", "nope: no such key; expected one of augmentation, .*, seed"),
      (
        "phases.joint.steps=1",
        "phases.joint.steps: no such key; expected one of decoders, joint_",
      ),
      (
        "phases.latents.weights.foo=1",
        "phases.latents.weights.foo: no such key; expected one of ident",
      ),
      # By a key's earlier name too.
      ("phases.encoder.optimizer.rat=1", ".*rat: no .*; did you mean rate?"),
      ("model.trunk.x=1", "model.trunk.x: .*; config.model.trunk is a value"),
      ("run_phases[0]=latents", ".*no such key; set config.run_phases as a"),
      ("phases={'latents': 1}", "phases: expected a value of one of its keys"),
      ("seed=1.5", "seed: expected a whole number, got '1.5'"),
      ("phases.latents.steps=", "phases.latents.steps: .* number, got ''"),
      (
        "phases.latents.optimizers.encoder.rate=fast",
        ".*rate: expected a number, got 'fast'",
      ),
      ("residual_branch=maybe", "residual_branch: expected true or false, got"),
      ("model={'a': 1", "model: expected a mapping .*, got \"{'a': 1\""),
      ("run_phases=(1,", "run_phases: expected a tuple .*, got '\\(1,'"),
    ),
  )
  def test_a_misspelt_key_or_a_wrong_type(self, binary, case):
    given, message = case
    config = [_SMOKE] if binary == "train" else []
    message = message.replace("?", r"\?")
    self._told(f"--config.{message}", binary, *config, f"--config.{given}")

  def test_a_misspelt_switch(self):
    message = "--config.residual_brunch: no such key; did you mean residual_b"
    self._told(message, "train", _SMOKE, "--noconfig.residual_brunch")

  @parameterized.parameters("train", "paper_scale")
  def test_a_file_that_is_no_config(self, binary):
    folder = pathlib.Path(self.create_tempdir().full_path)
    (folder / "empty.py").touch()
    for name, message in (
      ("nope.py", "/nope.py: no such file"),
      (".", ": .*file"),
      ("empty.py", r"/empty.py: expected a file with get_config\(\), got"),
    ):
      self._told(f"{folder}{message}", binary, f"--config={folder / name}")

  @parameterized.parameters("demo", "demo.py", "experiments/configs/demo.py")
  def test_a_config_of_ours_is_found_by_its_name_from_anywhere(self, name):
    here = os.getcwd()
    self.addCleanup(os.chdir, here)
    os.chdir(self.create_tempdir().full_path)
    told, config = _start("train", f"--config={name}")
    self.assertEqual((told, config.model.trunk), ("", "tiny"))
    # A file goes first.
    pathlib.Path("demo.py").write_text(
      "from ml_collections import ConfigDict\n"
      "def get_config(): return ConfigDict({'own': 3})\n"
    )
    told, config = _start("train", "--config=demo.py")
    self.assertEqual((told, config.own), ("", 3))
    folder = pathlib.Path(configs.__file__).parent
    names = sorted(path.stem for path in folder.glob("[a-z]*.py"))
    self.assertIn("smoke", names)
    self._told(
      f"nope: no such file, nor a config of this name: {', '.join(names)}$",
      "train",
      "--config=nope",
    )

  def test_a_defect_of_a_config_keeps_its_traceback(self):
    path = self.create_tempfile("own.py", "def get_config(): return {} + 1")
    with self.assertRaisesRegex(RuntimeError, "own.py: get_config.. failed"):
      _start("train", f"--config={path.full_path}")

  def test_what_is_right_is_taken(self):
    told, config = _start(
      "train",
      _SMOKE,
      f"{_LATENTS}.steps=7",
      "--config.seed",
      "3",
      "--noconfig.residual_branch",
      f"{_LATENTS}.optimizers.encoder.arguments={{'nesterov': True}}",
    )
    self.assertEqual(told, "")
    self.assertEqual((config.seed, config.residual_branch), (3, False))
    latents = config.phases.latents
    self.assertEqual(latents.steps, 7)
    self.assertTrue(latents.optimizers.encoder.arguments.nesterov)


if __name__ == "__main__":
  absltest.main()
