"""What evaluations write, the page that joins it, and the paper's tables."""

import dataclasses
import json
import pathlib

from absl.testing import absltest
import numpy as np

from disentangle3d.reporting.charts import Series, line_chart
from disentangle3d.reporting.html_page import (
  Grid,
  Paragraph,
  Picture,
  Section,
  Table,
)
from experiments.benchmarks import speed
from experiments.benchmarks.timing import Timing
from experiments.pages import report
from experiments.pages.findings import (
  Findings,
  load_findings,
  output_of,
  save_as_found,
  save_findings,
)
from experiments.pages.paper_tables import (
  LFW,
  PAPER_TABLES,
  TABLE_1,
  TABLE_2,
  paper_table,
)


def _findings():
  image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
  chart = line_chart({"a": Series([0, 1], [1, 2])}, x_label="x", y_label="y")
  table = Table(("", "n"), [("a", np.float32(1.5)), ("b", float("nan"))])
  blocks = [
    Paragraph("<text>"),
    table,
    Grid([Picture(image, "one", is_photo=True)], columns=5),
    Picture(chart, "chart"),
  ]
  measured = {TABLE_2: {"ours": (np.float64(2.5),)}, LFW: {"ours": [None] * 5}}
  return Findings("It", [Section("Part", blocks)], measured)


class SaveAsFoundTest(absltest.TestCase):
  def test_what_was_found_before_a_failure_is_there(self):
    folder = pathlib.Path(self.create_tempdir().full_path) / "found"
    whole = _findings()

    def parts():
      yield whole.sections, whole.measured
      raise KeyError("the second set")

    with self.assertRaises(KeyError):
      save_as_found(folder, "It", parts())
    there = load_findings(folder)
    self.assertEqual([one.title for one in there.sections], ["Part"])
    save_as_found(folder, "It", [(whole.sections, whole.measured)] * 2)
    self.assertLen(load_findings(folder).sections, 2)


class FindingsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path) / "it"

  def test_what_was_written_comes_back(self):
    save_findings(self.folder, _findings())
    save_findings(self.folder, _findings())
    found = load_findings(self.folder)
    text, table, grid, chart = found.sections[0].blocks
    self.assertEqual(text, Paragraph("<text>"))
    self.assertEqual(table.rows, [["a", 1.5], ["b", None]])
    np.testing.assert_array_equal(
      grid.pictures[0].image,
      _findings().sections[0].blocks[2].pictures[0].image,
    )
    self.assertEqual(grid.columns, 5)
    self.assertEqual(chart.width_px, 518)
    self.assertTrue(grid.pictures[0].is_photo)
    self.assertFalse(chart.is_photo)
    self.assertEqual(found.measured[TABLE_2], {"ours": [2.5]})
    self.assertIn("&lt;text&gt;", (self.folder / "page.html").read_text())

  def test_nothing_else_is_overwritten(self):
    self.folder.mkdir()
    (self.folder / "precious").touch()
    for refuse in (
      lambda: output_of(self.folder, "It").__enter__(),
      lambda: save_findings(self.folder, _findings()),
    ):
      with self.assertRaisesRegex(ValueError, "it: expected a new or an empty"):
        refuse()
    self.assertTrue((self.folder / "precious").exists())

  def test_findings_of_another_kind_are_not_replaced(self):
    save_findings(self.folder, _findings())
    other = dataclasses.replace(_findings(), title="Other")
    for refuse in (
      lambda: output_of(self.folder, "Other").__enter__(),
      lambda: save_findings(self.folder, other),
    ):
      with self.assertRaisesRegex(ValueError, "same kind, got one of 'It'"):
        refuse()
    self.assertEqual(load_findings(self.folder).title, "It")

  def test_two_evaluations_at_once_do_not_share_a_folder(self):
    with output_of(self.folder, "It"):
      with self.assertRaisesRegex(ValueError, "in use by process"):
        output_of(self.folder, "It").__enter__()
      save_findings(self.folder, _findings())
    self.assertEqual([p.name for p in self.folder.parent.iterdir()], ["it"])
    with output_of(self.folder, "It"):
      pass

  def test_findings_that_cannot_be_written_leave_the_earlier_ones(self):
    save_findings(self.folder, _findings())
    broken = dataclasses.replace(
      _findings(), measured={TABLE_2: {"ours": (float("inf"),)}}
    )
    with self.assertRaises(ValueError):
      save_findings(self.folder, broken)
    self.assertEqual(
      load_findings(self.folder).measured[TABLE_2], {"ours": [2.5]}
    )
    self.assertEqual([p.name for p in self.folder.parent.iterdir()], ["it"])
    with output_of(self.folder, "It"):
      pass

  def test_damage_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "section.json"):
      load_findings(self.folder)
    save_findings(self.folder, _findings())
    (self.folder / "picture00.png").unlink()
    with self.assertRaisesRegex(FileNotFoundError, "picture00.png"):
      load_findings(self.folder)
    path = self.folder / "section.json"
    content = json.loads(path.read_text())
    content["measured"][TABLE_2]["ours"] = [1, 2]
    path.write_text(json.dumps(content))
    save = path.with_name("picture00.png")
    save.write_bytes(path.with_name("picture01.png").read_bytes())
    with self.assertRaisesRegex(ValueError, "expected 1 cells a row"):
      load_findings(self.folder)


class PaperTablesTest(absltest.TestCase):
  def test_rows_are_as_wide_as_their_table(self):
    for key, table in PAPER_TABLES.items():
      for name, cells in table.rows.items():
        self.assertLen(cells, len(table.columns), f"{key}: {name}")

  def test_printed_averages_are_those_of_the_printed_numbers(self):
    for name, cells in PAPER_TABLES[TABLE_1].rows.items():
      known = [cell for cell in cells[:-1] if cell is not None]
      self.assertAlmostEqual(np.mean(known), cells[-1], delta=0.011, msg=name)

  def test_a_table_nobody_measured_ends_in_dashes(self):
    table = paper_table(LFW, {})
    self.assertEqual(table.rows[-1], ("this run", *["–"] * 5))
    table = paper_table(
      LFW, {"ours": [(90.0, 1.0), (80.0, None), None, 1.0, 2]}
    )
    self.assertEqual(
      table.rows[-1], ("ours", "90.00 ± 1.00", "80.00", "–", "1.00", "2")
    )
    self.assertIn("(printed)", table.rows[0][0])


class ReportTest(absltest.TestCase):
  def test_parts_stand_beside_the_papers_and_the_missing_are_named(self):
    workdir = pathlib.Path(self.create_tempdir().full_path)
    save_findings(workdir / "evaluation" / "timing", _findings())
    parts = report.read_all_findings(workdir)
    self.assertEqual(list(parts), ["timing"])
    first, *others = report.report_sections(parts)
    of_key = dict(zip(PAPER_TABLES, first.blocks, strict=True))
    self.assertEqual(of_key[TABLE_2].rows[-1], ("ours", "2.50"))
    self.assertEqual(of_key[TABLE_1].rows[-1][1], "–")
    self.assertEqual([s.title for s in others], ["Part", "Not measured"])
    self.assertLen(others[-1].blocks[1].rows, len(report.PARTS) - 1)
    with self.assertRaisesRegex(FileNotFoundError, "no such folder"):
      report.read_all_findings(workdir / "none")


class SpeedTest(absltest.TestCase):
  def test_times_are_of_an_image_and_batches_are_whole(self):
    timing = Timing(9.0, (0.004, 0.008, 0.012), (0.0, 0.0, 0.0))
    (row,) = speed.timing_table([("all", speed.ImageTiming(4, timing))]).rows
    self.assertEqual(row[:3], ("all", 4, 12))
    np.testing.assert_allclose(row[3:], (2, 1.5, 2, 2.5, 2.9))


if __name__ == "__main__":
  absltest.main()
