"""Evaluation while training: the same numbers as afterwards, and no others."""

import pathlib
import shutil
import tempfile

from absl.testing import absltest
import jax
from jax.experimental.compilation_cache import compilation_cache
import jax.numpy as jnp
import numpy as np

from data_prep.datasets.writer import write_dataset
from disentangle3d.evaluation.code_scores import score_pairs
from disentangle3d.evaluation.pair_plans import draw_pairs, usual_plan
from disentangle3d.faces.morphable_model import synthesize_shape
from disentangle3d.inference import encode, reconstruct
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.export import load_network
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.run_files import read_metrics
from experiments.configs import smoke
from experiments.training.runs import train
from tests.training.cases import MORPHABLE_MODEL, records

_TIMES = ("images_per_s", "input_wait_share")


class _StopAfter:
  """Asks to stop after so many steps."""

  def __init__(self, steps):
    self._left = steps

  def __call__(self):
    self._left -= 1
    return self._left == 0


def _lines(workdir):
  return [
    {name: value for name, value in line.items() if name not in _TIMES}
    for line in read_metrics(workdir)
  ]


class EvaluatorsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.root = pathlib.Path(tempfile.mkdtemp())
    cls.addClassCleanup(shutil.rmtree, cls.root)
    # The same phase runs several times over; compile it once.
    cls._set_cache(str(cls.root / "cache"))
    cls.addClassCleanup(cls._set_cache, None)
    splits = {
      "train": records(),
      "heldout": records(people=6, photos=4, prefix="h"),
    }
    write_dataset(cls.root / "dataset", splits, MORPHABLE_MODEL, {"seed": 0})
    cls.asked = []
    cls.config = cls._config()
    cls.config.evaluators.reconstruction.every = 4
    cls.config.evaluators.verification.every = 3
    cls.config.evaluators.mine = {"every": 2}
    cls.outcome = cls._train("straight", cls.config)

  @staticmethod
  def _set_cache(folder):
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()

  @classmethod
  def _config(cls):
    """Phase I on the dataset, its network's decoders as they start."""
    config = smoke.get_config()
    config.model.num_vertices = 120
    config.examples.path = str(cls.root / "dataset")
    config.run_phases = ("latents",)
    config.export_phases = ()
    config.log_every = 5
    config.checkpoint_every = 100
    config.phases.latents.steps = 6
    config.phases.latents.examples = "dataset"
    return config

  @classmethod
  def _mine(cls, params, step):
    cls.asked.append(step)
    kernel = params["encoder"]["identity_fc"]["kernel"]
    return {"kernel_sum": float(np.sum(kernel, dtype=np.float64))}

  @classmethod
  def _train(cls, name, config, **settings):
    return train(
      config, cls.root / name, evaluators={"mine": cls._mine}, **settings
    )

  def test_each_has_its_period_and_the_end(self):
    found = {
      name: [
        line["step"] for line in _lines(self.root / "straight") if name in line
      ]
      for name in (
        "loss",
        "heldout_reconstruction",
        "heldout_auc",
        "kernel_sum",
      )
    }
    self.assertEqual(
      found,
      {
        "loss": [5, 6],
        "heldout_reconstruction": [4, 6],
        "heldout_auc": [3, 6],
        "kernel_sum": [2, 4, 6],
      },
    )

  def test_the_numbers_are_those_of_evaluating_afterwards(self):
    (last,) = [
      line for line in _lines(self.root / "straight") if line["step"] == 6
    ]
    network = load_network(self.root / "straight")
    reader = RecordReader(open_dataset(self.root / "dataset", "heldout"))
    rows = range(len(reader))
    photos = reader.read(rows)
    people = np.array(
      [int(r["subject"][1:]) for r in reader.read_records(rows)]
    )
    codes = encode(
      network.params, jnp.asarray(photos.image), model=network.model
    )
    scores = score_pairs(
      np.asarray(codes.identity), draw_pairs(people, usual_plan(people))
    )
    self.assertAlmostEqual(
      last["heldout_auc"], scores.result.auc.mean, delta=1e-6
    )
    made = reconstruct(
      network.params, jnp.asarray(photos.image), model=network.model
    )
    truth = synthesize_shape(
      MORPHABLE_MODEL,
      jnp.asarray(photos.identity_coefficients),
      jnp.asarray(photos.expression_coefficients),
    )
    square = np.square(np.asarray(made.shape) - np.asarray(truth)).sum(-1)
    np.testing.assert_allclose(
      last["heldout_reconstruction"], square.mean(), rtol=1e-5
    )
    kernel = network.params["encoder"]["identity_fc"]["kernel"]
    self.assertEqual(last["kernel_sum"], np.sum(kernel, dtype=np.float64))

  def test_a_resumed_run_has_the_same_lines(self):
    # One of three is due where it stops.
    outcome = self._train("resumed", self.config, should_stop=_StopAfter(3))
    self.assertFalse(outcome.complete)
    self.asked.clear()
    self._train("resumed", self.config)
    self.assertEqual(self.asked, [4, 6])
    evaluated = lambda line: {  # noqa: E731
      k: v
      for k, v in line.items()
      if k in ("heldout_auc", "kernel_sum", "heldout_reconstruction")
    }
    straight, resumed = (
      {
        line["step"]: evaluated(line)
        for line in _lines(self.root / name)
        if evaluated(line)
      }
      for name in ("straight", "resumed")
    )
    self.assertEqual(straight, resumed)

  def test_training_does_not_notice(self):
    train(self._config(), self.root / "without")
    for name, array in (
      load_network(self.root / "without")
      .params["encoder"]["identity_fc"]
      .items()
    ):
      np.testing.assert_array_equal(
        array, self.outcome.params["encoder"]["identity_fc"][name]
      )
    with_, without = (
      [line["loss"] for line in _lines(self.root / name) if "loss" in line]
      for name in ("straight", "without")
    )
    self.assertEqual(with_, without)

  def test_evaluators_that_do_not_go_together_are_refused(self):
    config = self._config()
    with self.assertRaisesRegex(
      ValueError, "^evaluators: .*period of mine.* config.evaluators.mine.every"
    ):
      self._train("refused", config)
    config.evaluators.other = {"every": 1}
    with self.assertRaisesRegex(
      ValueError, "mine, reconstruction, verification, got other$"
    ):
      self._train("refused", config)
    config = smoke.get_config()
    config.evaluators.verification.every = 1
    with self.assertRaisesRegex(ValueError, "dataset with people held out"):
      train(config, self.root / "refused")
    self.assertFalse((self.root / "refused").exists())


if __name__ == "__main__":
  absltest.main()
