from absl.testing import absltest

from disentangle3d.reporting.html_page import (
  Paragraph,
  Preformatted,
  Section,
  Table,
)
from disentangle3d.reporting.markdown import markdown, markdown_table


class MarkdownTest(absltest.TestCase):
  def test_a_table_has_dashes_and_escaped_bars(self):
    table = Table(
      ("a|b", "n"), [("x", 1.256), ("y", None), ("z", 1200)], caption="mm"
    )
    self.assertEqual(
      markdown_table(table),
      "| a\\|b | n |\n| --- | ---: |\n| x | 1.26 |\n| y | – |\n| z | 1,200 |\n"
      "\nmm",
    )

  def test_sections_are_headings_and_blocks(self):
    sections = [Section("S", [Paragraph("text"), Preformatted("code")])]
    self.assertEqual(
      markdown(sections, level=3), "### S\n\ntext\n\n```\ncode\n```\n"
    )


if __name__ == "__main__":
  absltest.main()
