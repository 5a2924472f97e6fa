"""The flags of every binary: one vocabulary, whole sentences, old names."""

from collections.abc import Iterator, Mapping
import contextlib
import importlib
import os
import pkgutil
import shlex
import sys
from typing import Any
from unittest import mock

from absl import flags
from absl.testing import absltest, parameterized

from data_prep.stages import flag_words
from data_prep.stages.help_text import help_text, sentences
from tests.fixtures import REPOSITORY

_PACKAGES = ("data_prep", "experiments")
# Other words for what the vocabulary has a word for.
_FORBIDDEN = {
  *("params", "checkpoint", "model", "models", "networks", "mm", "before"),
  *("image", "images", "photo", "img", "data", "synthetic", "fits", "after"),
  *("out", "out_dir", "output_dir", "output_path", "folder", "dir"),
  *("batch", "batches", "bs", "num_people", "n_people", "random_seed"),
}
# What of a flag's name says that it takes a path.
_PATHS = {
  *("output", "output_file", "workdir", "dataset", "network", "photos"),
  *("morphable_model", "meshes", "scores", "source", "bin", "lfw_aligned"),
}


def binaries() -> list[str]:
  """The modules at the top of both packages that can be run."""
  found = []
  for package in _PACKAGES:
    for module in pkgutil.iter_modules([str(REPOSITORY / package)]):
      path = REPOSITORY / package / f"{module.name}.py"
      if path.is_file() and "command_line.run(" in path.read_text("utf-8"):
        found.append(f"{package}.{module.name}")
  return found


@contextlib.contextmanager
def defined(binary: str) -> Iterator[dict[str, flags.Flag]]:
  """A binary's flags, which are gone after the context."""
  module = importlib.import_module(binary)
  before = set(flags.FLAGS)
  with mock.patch.dict(flag_words._OLD, clear=True):
    try:
      module.define_flags()
      yield {name: flags.FLAGS[name] for name in set(flags.FLAGS) - before}
    finally:
      for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def parse(command: str) -> tuple[dict[str, Any], list[str]]:
  """Values and warnings of a command line, `<package>.<binary> --flag=...`."""
  words = shlex.split(command)
  # A config reads its overrides from here.
  with mock.patch.object(sys, "argv", words), defined(words[0]) as own:
    words, warnings = flag_words.today(words)
    left = flags.FLAGS(words)
    if left[1:]:
      raise AssertionError(f"no flag: {left[1:]}")
    return {name: flag.value for name, flag in own.items()}, warnings


class VocabularyTest(parameterized.TestCase):
  @parameterized.parameters(*binaries())
  def test_one_word_for_one_thing_in_whole_sentences(self, binary):
    with defined(binary) as own:
      self.assertNotEmpty(own)
      for name, flag in own.items():
        said = sentences(flag)
        self.assertRegex(said, r"^[A-Z].*[^.]\.$", name)
        self.assertNotRegex(said, r"\n|  ", name)
        self.assertNotIn(name, _FORBIDDEN)
        if name in _PATHS:
          self.assertIn("path", flag.flag_type(), name)
      for old, new in flag_words._OLD.items():
        self.assertNotIn(old, own)
        self.assertIn(new.partition("=")[0].partition(".")[0], own)

  @parameterized.parameters(*binaries())
  def test_help_fits_in_80_columns(self, binary):
    with defined(binary) as own:
      purpose = importlib.import_module(binary).__doc__
      text = help_text(purpose, list(own.values()))
    self.assertIn(f"python -m {binary} ", purpose)
    for line in text.splitlines():
      self.assertLessEqual(len(line), 80, line)
    oddities = r"None|\[\]|\['|<\w+\||repeat this|[A-Z]\n\n"
    self.assertNotRegex(text.partition("\nFlags:")[2], oddities)

  @parameterized.parameters(*binaries())
  def test_where_nothing_can_be_written_is_told_before_any_work(self, binary):
    file = self.create_tempfile("file").full_path
    with defined(binary) as own:
      for name in own.keys() & {"output", "output_file"}:
        with self.assertRaisesRegex(Exception, f"{file}: expected a folder"):
          own[name].parse(f"{file}/x")

  def test_the_home_folder_stands_for_a_tilde(self):
    home = os.path.expanduser("~")
    values, _ = parse(
      "data_prep.locate_landmarks --photos=~/photos --output=~/o --points=~/p"
    )
    self.assertEqual(
      (values["photos"], values["output"], values["points"]),
      (f"{home}/photos", f"{home}/o", f"{home}/p"),
    )


# Commands of the README and BUILD.md that had other names of flags, what they
# ask for in today's, and how many old names they have.
_OLD_COMMANDS = (
  (
    "experiments.benchmark_inference --params=runs/demo/training --batches=1,8",
    {"network": "runs/demo/training", "batch_sizes": ["1,8"]},
    2,
  ),
  (
    "experiments.benchmark_speed --output=o --images=70 --batch=1 --batch=8",
    {"num_images": 70, "batch_sizes": ["1", "8"]},
    3,
  ),
  (
    "experiments.benchmark_fitting --output=o --images=9 --subjects=4"
    " --photos=40",
    {"num_images": 9, "people": 4, "num_photos": 40},
    3,
  ),
  (
    "experiments.benchmark_photo_stages --model=m.npz --photos=p",
    {"morphable_model": "m.npz", "photos": "p"},
    1,
  ),
  (
    "experiments.benchmark_input --dataset=d --batches=2",
    {"num_batches": 2},
    1,
  ),
  (
    "data_prep.convert_morphable_model --format=ict_facekit"
    " --source=FaceXModel --output=ict.npz",
    {"output_file": "ict.npz"},
    1,
  ),
  (
    "data_prep.prepare_dataset --images=photos --model=ict.npz"
    " --output=prepared --heldout_people=6",
    {"photos": "photos", "morphable_model": "ict.npz", "output": "prepared"},
    2,
  ),
  (
    "data_prep.inspect_dataset --dataset=dataset --output=page.html",
    {"dataset": "dataset", "output_file": "page.html"},
    1,
  ),
  (
    "data_prep.detect_faces --images orl_faces --output=detected",
    {"photos": "orl_faces"},
    1,
  ),
  (
    "data_prep.locate_landmarks --images=photos --output=located",
    {"photos": "photos"},
    1,
  ),
  (
    "data_prep.fit_faces --landmarks=aligned --model=model.npz --output=fitted",
    {"aligned": "aligned", "morphable_model": "model.npz"},
    2,
  ),
  (
    "data_prep.build_dataset --fits=fitted --output=dataset --heldout_people=6",
    {"fitted": "fitted"},
    1,
  ),
  (
    "experiments.reconstruct --params=runs/demo/training"
    " --images='photos/*.jpg,~/b' --output=out --viewer",
    {
      "network": "runs/demo/training",
      "photos": ["photos/*.jpg", os.path.expanduser("~/b")],
    },
    2,
  ),
  (
    "experiments.export --params=runs/demo/training --output=exported",
    {"network": "runs/demo/training"},
    1,
  ),
  (
    "experiments.evaluate_verification --synthetic=runs/demo/dataset"
    " --network='after III=runs/demo/training' --output=out",
    {
      "dataset": ["runs/demo/dataset"],
      "network": ["after III=runs/demo/training"],
    },
    1,
  ),
  (
    "experiments.evaluate_verification --photos=prepared/dataset"
    " --network=before=runs/demo/training --network=after=runs/photos"
    " --output=runs/photos/evaluation",
    {"dataset": ["prepared/dataset"]},
    1,
  ),
  (
    "experiments.visualize --dataset=runs/demo/dataset --photos=a/dataset"
    " --network='after III=runs/demo/training' --output=pictures",
    {"dataset": ["runs/demo/dataset", "a/dataset"]},
    1,
  ),
  (
    "experiments.photo_report --dataset=prepared/dataset"
    " --before=runs/ict_demo/training --after runs/photos"
    " --output=runs/photos/report.html",
    {
      "network": ["before=runs/ict_demo/training", "after=runs/photos"],
      "output_file": "runs/photos/report.html",
    },
    3,
  ),
  (
    "experiments.paper_scale --workdir=runs/paper --people=validation"
    " --render_batch=8 --config.model.trunk=tiny --ablation=paper"
    " --ablation=identity_shape",
    {
      "evaluate_on": "validation",
      "render_batch_size": 8,
      "ablation": ["paper", "identity_shape"],
    },
    2,
  ),
  (
    "experiments.evaluate_reconstruction --set=synthetic_yaw --output=a"
    " --network=a=b --bu3dfe=BU3DFE",
    {"test_set": ["synthetic_yaw"], "bu3dfe": "BU3DFE"},
    1,
  ),
  (
    "experiments.train --config=experiments/configs/folder_finetune.py"
    " --config.dataset=~/dataset --config.init_from=runs/demo/training"
    " --config.model.num_vertices=29495 --config.model.identity_dim=199"
    " --workdir=runs/photos",
    {"workdir": "runs/photos"},
    None,
  ),
  (
    "experiments.train --config=experiments/configs/demo.py"
    " --config.phases.encoder.optimizer.rate=1e-3"
    " --config.phases.encoder.accumulate=4 --config.identity_head.sharded=True"
    " --config.model.dtype=bfloat16 --workdir=runs/photos",
    {"workdir": "runs/photos"},
    None,
  ),
  (
    "experiments.benchmark_inference --batches=1,8,32 --rounds=12"
    " --params=runs/demo/training --dataset=dataset --output=a",
    {"network": "runs/demo/training"},
    2,
  ),
  ("experiments.benchmark_fitting --output=a --images=488848", {}, 1),
  (
    "experiments.benchmark_speed --trunk=sphere20 --batch=1 --batch=8"
    " --output=a",
    {"batch_sizes": ["1", "8"]},
    2,
  ),
  (
    "experiments.benchmark_training --devices=1,2,4,8"
    " --batch_sizes=256,1024 --precision=float32,bfloat16 --output=scaling",
    {},
    0,
  ),
  ("experiments.benchmark_input --dataset=dataset", {}, 0),
  ("experiments.benchmark_head --num_classes=200000 --cpu_devices=8", {}, 0),
  (
    "experiments.benchmark_detection --reference_python=python"
    " --factor=0.709 --rounds=7",
    {},
    0,
  ),
  (
    "experiments.benchmark_photo_stages --photos=orl_faces --num_photos=64"
    " --fitted=2048",
    {"photos": "orl_faces"},
    0,
  ),
  ("experiments.accelerator --output=runs/accelerator", {}, 0),
  # Nothing of these was renamed.
  ("experiments.demo --workdir=runs/ict --morphable_model=ict.npz", {}, 0),
  ("experiments.report --workdir=runs/demo", {}, 0),
  (
    "experiments.evaluate_disentanglement --dataset=runs/demo/dataset"
    " --network='after III=runs/demo/training' --output=a --people=20"
    " --swaps=60",
    {},
    0,
  ),
  (
    "experiments.evaluate_reconstruction --dataset=runs/demo/dataset"
    " --bound_people=0 --protocol_photos=0 --network=a=b --output=c",
    {"bound_people": 0},
    0,
  ),
  ("data_prep.render_synthetic --output=runs/synthetic", {}, 0),
  ("data_prep.render_synthetic --output=a --write=aligned", {}, 0),
  (
    "data_prep.import_trunk --weights=sphere20a.pth --output=runs/sphere20",
    {},
    0,
  ),
  (
    "data_prep.locate_landmarks --detected=detected --output=located"
    " --locator=fan --fan_python=fan/bin/python",
    {},
    0,
  ),
  ("data_prep.align_faces --located=a --output=b --template=arcface", {}, 0),
)


class OldCommandsTest(parameterized.TestCase):
  @parameterized.parameters(*_OLD_COMMANDS)
  def test_they_mean_what_they_meant(
    self, command: str, expected: Mapping[str, Any], count: int | None
  ):
    values, warnings = parse(command)
    if count is not None:
      self.assertLen(warnings, count)
    self.assertEqual({name: values[name] for name in expected}, dict(expected))


if __name__ == "__main__":
  absltest.main()
