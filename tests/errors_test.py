"""What is wrong with an input is told in a line, before anything is written."""

import importlib
import logging
import pathlib
import shutil
import sys
import tempfile
from unittest import mock

from absl import flags
from absl import logging as absl_logging
from absl.testing import absltest, parameterized

from disentangle3d.folder_use import sole_use
from disentangle3d.types import UserError
from experiments.pages.report import write_evaluation_page
from tests.flags_test import binaries, defined

_OUTPUTS = ("output", "workdir")
# What a binary needs beside its paths to come as far as reading them.
_ALSO = {
  "build_dataset": ["--heldout_people=2"],
  "convert_morphable_model": ["--format=npz_arrays"],
  "prepare_dataset": ["--heldout_people=2"],
  "train": ["--config=experiments/configs/demo.py"],
}
# Paths that are not required, but decide what happens.
_GIVEN = {
  "demo": ["morphable_model"],
  "evaluate_reconstruction": ["dataset"],
  "evaluate_verification": ["dataset", "network"],
  "locate_landmarks": ["detected"],
  "paper_scale": ["morphable_model"],
  "reconstruct": ["network"],
  "render_landmark_photos": ["morphable_model"],
  "render_synthetic": ["morphable_model"],
  "train": ["config.examples.path"],
}
_BENCHMARKS = (
  "experiments.benchmark_",
  "experiments.accelerator",
  "experiments.predict_scaling",
)


def _make(kind: str, path: pathlib.Path) -> pathlib.Path:
  match kind:
    case "folder":
      path.mkdir()
    case "damaged":
      path.write_bytes(b"no such format \x00\xff\n" * 20)
  return path


class WrongInputTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # Trainings quieten other libraries, for good.
    for name in ("absl", "disentangle3d"):
      logger = logging.getLogger(name)
      self.addCleanup(logger.setLevel, logger.level)
    self.addCleanup(absl_logging.set_verbosity, absl_logging.get_verbosity())

  @parameterized.product(
    binary=[name for name in binaries() if not name.startswith(_BENCHMARKS)],
    kind=("absent", "folder", "damaged"),
  )
  def test_it_is_one_line_and_nothing_is_written(self, binary, kind):
    scratch = pathlib.Path(tempfile.mkdtemp())
    self.addCleanup(shutil.rmtree, scratch)
    short = binary.rpartition(".")[2]
    with defined(binary) as own:
      paths = [
        name
        for name, flag in own.items()
        if "path" in flag.parser.flag_type()
        and name not in _OUTPUTS
        and (flag.value is None and flag.validators)
      ]
      wrong = {
        name: _make(kind, scratch / name.replace(".", "_"))
        for name in {*paths, *_GIVEN.get(short, [])} - {"output_file"}
      }
      words = [binary, *_ALSO.get(short, [])]
      words += [f"--{name}={path}" for name, path in wrong.items()]
      suffix = ".npz" if short == "convert_morphable_model" else ".html"
      outputs = {name: scratch / "new" for name in _OUTPUTS if name in own}
      if "output_file" in own:
        outputs["output_file"] = scratch / "new" / f"file{suffix}"
      words += [f"--{name}={path}" for name, path in outputs.items()]
    with mock.patch.object(sys, "argv", words):
      self._told(binary, words)
    self.assertFalse((scratch / "new").exists())

  def test_a_folder_that_is_no_run_has_no_page(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    with self.assertRaisesRegex(UserError, "expected the folder of a run"):
      write_evaluation_page(folder)
    self.assertEmpty(list(folder.iterdir()))
    (folder / "metrics.jsonl").write_text(
      '{"phase": "latents", "step": 1, "loss": 1.0}\n'
    )
    self.assertEqual(write_evaluation_page(folder).parent, folder)

  @parameterized.named_parameters(
    ("train", "train", ["--config=experiments/configs/smoke.py"]),
    ("demo", "demo", []),
    ("paper_scale", "paper_scale", ["--scale=0.0004"]),
  )
  def test_a_file_is_no_folder_to_write_to(self, binary, arguments):
    file = self.create_tempfile("file").full_path
    for path in (file, f"{file}/run"):
      words = [f"experiments.{binary}", *arguments, f"--workdir={path}"]
      with mock.patch.object(sys, "argv", words):
        self._told(words[0], words, f"{file}: expected a folder to write to, g")

  def test_a_folder_in_use_is_told(self):
    folder = self.create_tempdir().full_path
    words = ["experiments.accelerator", f"--output={folder}"]
    with sole_use(folder):
      self._told(words[0], words, f"{folder}: in use by process")

  @parameterized.named_parameters(
    (
      "model",
      ["experiments.reconstruct", "--photos=a.jpg", "--morphable_model=m.npz"],
      "--morphable_model: not read with --method=network",
    ),
    (
      "network",
      ["experiments.reconstruct", "--photos=a.jpg", "--network=n"]
      + ["--method=fit"],
      "--network: not read with --method=fit",
    ),
    (
      "locator",
      ["data_prep.locate_landmarks", "--detected=a", "--weights=w"],
      "--weights: expected with --locator=synthetic, got it with dlib",
    ),
    (
      "locators",
      ["experiments.evaluate_landmarks", "--points=p"],
      "--points: expected with --locator=pts, got it with dlib,synthetic",
    ),
  )
  def test_a_flag_that_nobody_reads_is_refused(self, words, message):
    words.append(f"--output={self.create_tempdir().full_path}/new")
    self._told(words[0], words, message)

  def test_the_other_python_is_looked_for_first(self):
    folder = self.create_tempdir().full_path
    words = ["experiments.benchmark_detection", f"--reference_python={folder}"]
    self._told(words[0], words, f"{folder}: expected a file, got a folder")

  def test_no_licence_is_told_before_the_photos_are_found(self):
    folder = self.create_tempdir().full_path
    words = ["data_prep.detect_faces", f"--photos={folder}/nowhere"]
    words.append(f"--output={folder}/new")
    with self.assertNoLogs("absl", "INFO"):
      self._told(words[0], words, "nowhere: no such file or folder")

  def _told(self, binary: str, words: list[str], message: str = "") -> None:
    with defined(binary):
      flags.FLAGS(words)
      with self.assertRaises((UserError, OSError)) as raised:
        importlib.import_module(binary).main()
    error = raised.exception
    self.assertTrue(isinstance(error, UserError) or error.errno is not None)
    self.assertLess(len(str(error)), 400)
    self.assertIn(message, str(error))
    self.assertNotIn("allow_pickle", str(error))


if __name__ == "__main__":
  absltest.main()
