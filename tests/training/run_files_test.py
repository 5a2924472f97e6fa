import errno
import json
import pathlib
import struct
from unittest import mock

from absl.testing import absltest
import jax
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import RecordWriter

from disentangle3d.training.run_files import (
  MetricLog,
  read_metrics,
  write_run_info,
)
from tests.training.cases import MORPHABLE_MODEL


def _events(path):
  """Tag, value and step of each scalar: TFRecords by their definition."""
  content, at, found = path.read_bytes(), 0, []
  while at < len(content):
    (length,) = struct.unpack_from("<Q", content, at)
    event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
    at += 12 + length + 4
    found += [
      (value.tag, value.simple_value, event.step)
      for value in event.summary.value
    ]
  return found


class RunFilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(self.create_tempdir().full_path) / "run"

  def test_half_a_line_of_metrics_does_not_spoil_the_next(self):
    self.workdir.mkdir()
    whole = '{"phase": "I", "step": 1, "loss": 2.0}\n'
    (self.workdir / "metrics.jsonl").write_text(whole + '{"phase": "I", "st')
    with MetricLog(self.workdir) as log:
      log.write("I", 2, {"loss": 1.0})
    steps = [
      json.loads(line)["step"]
      for line in (self.workdir / "metrics.jsonl").read_text().splitlines()
    ]
    self.assertEqual(steps, [1, 2])

  def _write(
    self,
    config,
    model=MORPHABLE_MODEL,
    *,
    fixed=("model", "head.kind"),
    **kwargs,
  ):
    write_run_info(
      self.workdir,
      config,
      model,
      jax.devices()[:1],
      params={"encoder": 7},
      fixed=fixed,
      **kwargs,
    )

  def test_metrics_come_back_and_the_later_of_two_holds(self):
    for values in ({"loss": 3.0}, {"loss": 2.0}):
      with MetricLog(self.workdir) as log:
        # An earlier version's name.
        log.write("encoder", 10, values)
        log.write("decoders", 10, {"loss": 9.0})
    self.assertEqual(
      read_metrics(self.workdir),
      [
        {"phase": "latents", "step": 10, "loss": 2.0},
        {"phase": "decoders", "step": 10, "loss": 9.0},
      ],
    )
    events = (self.workdir / "tensorboard").glob("events*")
    told = [event for path in events for event in _events(path)]
    self.assertIn(("decoders/loss", 9.0, 10), told)

  def test_a_clock_that_is_set_does_not_hold_up_the_training(self):
    days = iter([0.0, 400.0, -400.0, 0.0] * 100)
    with (
      mock.patch("time.time", lambda: 1e9 + 86_400 * next(days)),
      MetricLog(self.workdir) as log,
    ):
      for step in range(40):
        log.write("latents", step, {"loss": float(step)})
    (path,) = (self.workdir / "tensorboard").glob("events*")
    self.assertEqual(
      _events(path), [("latents/loss", float(step), step) for step in range(40)]
    )

  def test_a_full_disk_is_told_with_the_folder(self):
    with MetricLog(self.workdir) as log:
      full = OSError(errno.ENOSPC, "No space left on device")
      with (
        mock.patch.object(RecordWriter, "write", side_effect=full),
        self.assertRaisesRegex(OSError, "No space left.*tensorboard"),
      ):
        log.write("latents", 1, {"loss": 2.0})

  def test_no_metrics_and_a_cut_line_are_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "metrics.jsonl"):
      read_metrics(self.workdir)
    self.workdir.mkdir()
    (self.workdir / "metrics.jsonl").write_text('{"phase": "enc')
    with self.assertRaisesRegex(ValueError, "metrics.jsonl: line 1"):
      read_metrics(self.workdir)

  def test_run_info_says_what_ran(self):
    self._write({"seed": 0, "phases": ("a", "b")})
    info = json.loads((self.workdir / "run.json").read_text())
    self.assertEqual(info["config"], {"seed": 0, "phases": ["a", "b"]})
    self.assertEqual(info["morphable_model"]["licence"], "Apache-2.0")
    self.assertEqual(info["versions"]["jax"], jax.__version__)
    self.assertRegex(info["git_commit"], "^([0-9a-f]{40}|unknown)$")

  def test_what_changed_since_is_said_key_by_key(self):
    head = {"kind": "softmax", "scale": 30.0}
    self._write({"head": head, "phases": {"a": {"steps": 3, "rate": 0.1}}})
    with self.assertLogs("disentangle3d", "WARNING") as logs:
      self._write(
        {
          "head": head | {"scale": 64.0},
          "phases": {"a": {"steps": 3, "rate": 0.2, "accumulate": 1}},
        }
      )
    said = [record.getMessage() for record in logs.records]
    self.assertEqual(
      said,
      [
        "config.head.scale: was 30.0 when this run began, is 64.0",
        "config.phases.a.accumulate: was null when this run began, is 1",
        "config.phases.a.rate: was 0.1 when this run began, is 0.2",
      ],
    )
    with self.assertRaisesRegex(ValueError, "config.head.kind: expected"):
      self._write({"head": head | {"kind": "cosface"}, "phases": {}})

  def test_another_run_is_refused_and_free_entries_may_change(self):
    self._write({"seed": 0, "model": {"dim": 3}, "log_every": 1})
    self._write(
      {"seed": 0, "model": {"dim": 3}, "log_every": 2}, free=["log_every"]
    )
    with self.assertRaisesRegex(ValueError, "config.model.dim: expected 3"):
      self._write({"seed": 0, "model": {"dim": 4}, "log_every": 2})
    with self.assertRaisesRegex(ValueError, "morphable_model.name"):
      self._write(
        {"seed": 0, "model": {"dim": 3}, "log_every": 2},
        MORPHABLE_MODEL.replace(name="another"),
      )
    another = MORPHABLE_MODEL.replace(name="another")
    with self.assertLogs("disentangle3d", "WARNING") as logs:
      self._write({"seed": 0, "model": {"dim": 4}}, another, fixed=())
    self.assertIn("config.model.dim: was 3 when this run began", str(logs))
    (self.workdir / "run.json").write_text("{")
    with self.assertRaisesRegex(ValueError, "run.json: expected"):
      self._write({"seed": 0})


if __name__ == "__main__":
  absltest.main()
