"""The one writer: what comes back from its JSON, and what its page says."""

import dataclasses
import datetime
import json
import pathlib
import sys
from unittest import mock

from absl.testing import absltest
import jax
import numpy as np

from disentangle3d.machine import machine_name
from disentangle3d.reporting.html_page import Paragraph, Table
from experiments.benchmarks import results


@dataclasses.dataclass(frozen=True)
class _Row:
  name: str
  rates: tuple[float, ...]


class ResultsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path) / "runs" / "a"
    words = ["/x/experiments/benchmark_any.py", "--output=a b"]
    self.enter_context(mock.patch.object(sys, "argv", words))

  def _publish(self, figures, output, **others):
    blocks = [Paragraph("Words."), Table(("", "ms"), [("one|two", 1.5)])]
    results.publish(
      "Title", blocks, figures, output=output, name="any", **others
    )

  def test_figures_come_back(self):
    figures = {
      "rows": [_Row("a", (0.1, 1e-300)), {"nested": {"deep": [1, None, True]}}],
      "array": np.arange(4, dtype=np.float32).reshape(2, 2) / 3,
      "numpy": [np.float64(0.1), np.int32(7), np.bool_(True)],
      "no number": [float("nan"), np.float32("inf")],
      3: "text with ü",
    }
    self._publish(figures, self.folder)
    back = results.read_figures(self.folder / "any.json")
    self.assertEqual(
      back["rows"],
      [
        {"name": "a", "rates": [0.1, 1e-300]},
        {"nested": {"deep": [1, None, True]}},
      ],
    )
    np.testing.assert_array_equal(
      np.array(back["array"], np.float32), figures["array"]
    )
    self.assertEqual(back["numpy"], [0.1, 7, True])
    self.assertEqual(back["no number"], [None, None])
    self.assertEqual(back["3"], "text with ü")

  def test_where_when_and_how_stand_beside_them(self):
    self._publish([], self.folder, charts={"a.png": b"png"})
    told = json.loads((self.folder / "any.json").read_text())["about"]
    self.assertEqual(told["machine"], machine_name())
    self.assertEqual(told["date"], datetime.date.today().isoformat())
    self.assertEqual(told["versions"]["jax"], jax.__version__)
    command = "python -m experiments.benchmark_any '--output=a b'"
    self.assertEqual(told["command"], command)
    page = (self.folder / "any.md").read_text()
    self.assertStartsWith(page, "# Title\n\n")
    for words in (machine_name(), f"jax {jax.__version__}", f"`{command}`"):
      self.assertIn(words, page)
    self.assertIn("Words.\n\n|  | ms |\n| --- | ---: |\n| one\\|two |", page)
    self.assertEqual((self.folder / "a.png").read_bytes(), b"png")
    self.assertLen(list(self.folder.iterdir()), 3)

  def test_without_a_folder_nothing_is_written_and_a_file_is_a_folder(self):
    self._publish([], None)
    self.assertFalse(self.folder.parent.exists())
    self._publish([], self.folder / "inference.json")
    self.assertTrue((self.folder / "inference" / "any.json").is_file())


if __name__ == "__main__":
  absltest.main()
