"""The words and tables of a page as Markdown; pictures are left out."""

from collections.abc import Sequence

from disentangle3d.reporting.html_page import (
  Block,
  Paragraph,
  Preformatted,
  Section,
  Table,
  format_number,
)


def markdown(sections: Sequence[Section], *, level: int = 2) -> str:
  """Sections under headings of a level, a blank line between all blocks."""
  parts: list[str] = []
  for section in sections:
    parts.append(f"{'#' * level} {section.title}")
    parts += [text for block in section.blocks if (text := _block(block))]
  return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
  """A table with its caption below; numbers stand to the right."""
  rule = [
    "---" if column in table.text_columns else "---:"
    for column in range(len(table.header))
  ]
  cells = [[_cell(cell, table.digits) for cell in row] for row in table.rows]
  lines = [_line(list(table.header)), _line(rule), *map(_line, cells)]
  if table.caption:
    lines += ["", table.caption]
  return "\n".join(lines)


def _block(block: Block) -> str:
  match block:
    case Table():
      return markdown_table(block)
    case Paragraph():
      return block.text
    case Preformatted():
      return f"```\n{block.text}\n```"
    case _:
      return ""


def _line(cells: Sequence[str]) -> str:
  return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cell(cell: str | float | int | None, digits: int) -> str:
  return cell if isinstance(cell, str) else format_number(cell, digits=digits)
