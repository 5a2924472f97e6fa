import pathlib
import shutil

from absl.testing import absltest
import chex
import jax
import numpy as np

from disentangle3d.training.checkpoint import (
  DamagedCheckpointError,
  PhaseCheckpoints,
  latest_step,
)
from disentangle3d.training.optimizers import make_optimizer
from disentangle3d.training.phases import initial_plateau
from disentangle3d.training.state import TrainState
from tests.training.cases import ADAM


def _state(step: int) -> TrainState:
  params = {"encoder": {"kernel": np.full((3, 2), step, np.float32)}}
  state = TrainState(
    step=np.int32(step),
    params=params,
    opt_state={"encoder": make_optimizer(ADAM).init(params["encoder"])},
    plateau=initial_plateau(),
  )
  return jax.tree.map(np.asarray, state)


class CheckpointTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(self.create_tempdir().full_path)
    with PhaseCheckpoints(self.workdir, "encoder") as checkpoints:
      for step in (1, 2, 5):
        checkpoints.save(_state(step))
    self.folder = self.workdir / "checkpoints" / "encoder"

  def _restore(self, step, like):
    with PhaseCheckpoints(self.workdir, "encoder") as checkpoints:
      return checkpoints.restore(step, like)

  def test_state_comes_back_to_the_bit(self):
    got = self._restore(5, _state(0))
    chex.assert_trees_all_equal(got, _state(5))

  def test_latest_step_and_the_two_kept(self):
    self.assertEqual(latest_step(self.workdir, "encoder"), 5)
    self.assertIsNone(latest_step(self.workdir, "decoders"))
    self.assertFalse((self.workdir / "checkpoints" / "decoders").exists())
    kept = sorted(path.name for path in self.folder.iterdir())
    self.assertEqual(kept, ["2", "5"])

  def test_a_half_written_checkpoint_is_not_seen(self):
    partial = self.folder / "9.orbax-checkpoint-tmp"
    shutil.copytree(self.folder / "5", partial)
    next(path for path in partial.rglob("manifest.ocdbt")).unlink()
    self.assertEqual(latest_step(self.workdir, "encoder"), 5)
    np.testing.assert_array_equal(self._restore(5, _state(0)).step, 5)

  def test_a_damaged_checkpoint_is_one_clear_error(self):
    for path in (self.folder / "5").rglob("*"):
      if path.is_file():
        path.write_bytes(b"damaged")
    with self.assertRaisesRegex(ValueError, "encoder/5: .* damaged one"):
      self._restore(5, _state(0))

  def test_a_damaged_latest_falls_back_says_so_and_is_written_anew(self):
    for path in (self.folder / "5").rglob("*"):
      if path.is_file():
        path.write_bytes(b"damaged")
    with PhaseCheckpoints(self.workdir, "encoder") as checkpoints:
      with self.assertLogs("disentangle3d", "WARNING") as logs:
        state = checkpoints.restore_latest(_state(0))
      chex.assert_trees_all_equal(state, _state(2))
      self.assertRegex(
        logs.records[0].getMessage(),
        "encoder/5: .* damaged one .*; going on from step 2 before it",
      )
      checkpoints.save(_state(5))
      chex.assert_trees_all_equal(
        checkpoints.restore_latest(_state(0)), _state(5)
      )
    self.assertTrue((self.folder / "damaged-5").is_dir())

  def test_all_damaged_is_an_error_and_none_is_none(self):
    for path in self.folder.rglob("*"):
      if path.is_file():
        path.write_bytes(b"damaged")
    with PhaseCheckpoints(self.workdir, "encoder") as checkpoints:
      with self.assertRaisesRegex(DamagedCheckpointError, "encoder/5"):
        checkpoints.restore_latest(_state(0))
    with PhaseCheckpoints(self.workdir, "decoders") as checkpoints:
      self.assertIsNone(checkpoints.restore_latest(_state(0)))

  def test_other_arrays_are_named(self):
    other = _state(0)
    wider = other.replace(
      params={"encoder": {"kernel": np.zeros((4, 2), np.float32)}}
    )
    with self.assertRaisesRegex(ValueError, r"kernel.*\[4, 2\], got \[3, 2\]"):
      self._restore(5, wider)
    more = other.replace(params={**other.params, "head": np.zeros(3)})
    with self.assertRaisesRegex(ValueError, "first that differs is .*head"):
      self._restore(5, more)


if __name__ == "__main__":
  absltest.main()
