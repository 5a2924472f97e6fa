"""One self-contained HTML page: text, tables and pictures, no network.

A page is plain values: sections of blocks. Every text is escaped, pictures
are embedded, the colours follow the reader's light or dark setting.
"""

import base64
from collections.abc import Sequence
import dataclasses
import html
import math
import os

from jaxtyping import UInt8
from matplotlib.figure import Figure
import numpy as np

from disentangle3d.evaluation.bootstrap import Interval
from disentangle3d.output_files import replace_file
from disentangle3d.reporting.charts import figure_image, figure_png
from disentangle3d.reporting.pictures import picture_jpeg, picture_png

_DASH = "–"


@dataclasses.dataclass(frozen=True)
class Paragraph:
  """A paragraph of plain text."""

  text: str


@dataclasses.dataclass(frozen=True)
class Preformatted:
  """Text as it is, e.g. a command or a log."""

  text: str


Row = Sequence[str | float | int | None]


@dataclasses.dataclass(frozen=True)
class Table:
  """A table; numbers stand to the right, texts to the left.

  Attributes:
    header: A title for each column.
    rows: As many cells each: a text, a number (two decimals if a float), or
      None or NaN for a missing value (a dash). See `mean_std`, `interval`.
    caption: What the numbers are, with their unit.
    text_columns: Columns that hold texts.
    digits: Decimals of the floats.
  """

  header: Sequence[str]
  rows: Sequence[Row]
  caption: str = ""
  text_columns: Sequence[int] = (0,)
  digits: int = 2


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture or chart with its caption.

  Attributes:
    image: `[H, W, 3]` uint8, or a matplotlib figure.
    caption: Below the picture; also what a screen reader says.
    width_px: Width on the page; None takes the picture's own (charts: 150
      dots an inch, shown at 96).
    is_photo: Stored as JPEG: photographs, large pictures of shaded faces.
  """

  image: UInt8[np.ndarray, "H W 3"] | Figure
  caption: str = ""
  width_px: int | None = None
  is_photo: bool = False


@dataclasses.dataclass(frozen=True)
class Grid:
  """Pictures side by side.

  Attributes:
    pictures: At their own widths, unless `columns` is given.
    caption: Below them.
    columns: How many share a row's width, however narrow it is; None takes as
      many as the window allows.
  """

  pictures: Sequence[Picture]
  caption: str = ""
  columns: int | None = None


Block = Paragraph | Preformatted | Table | Picture | Grid


@dataclasses.dataclass(frozen=True)
class Section:
  """A heading and what stands under it."""

  title: str
  blocks: Sequence[Block]


def page(title: str, sections: Sequence[Section], *, subtitle: str = "") -> str:
  """The whole page.

  Args:
    title: Heading and window title.
    sections: What it shows; two or more get a table of contents.
    subtitle: A line under the heading.

  Returns:
    HTML that needs no other file.

  Raises:
    ValueError: A row of a table has not as many cells as the header; names
      table and row.
    TypeError: A block is of no known kind, or a picture is not uint8.
  """
  contents = ""
  if len(sections) > 1:
    links = "".join(
      f'<li><a href="#section-{i}">{html.escape(section.title)}</a></li>'
      for i, section in enumerate(sections)
    )
    contents = f"<nav><ul>{links}</ul></nav>"
  body = "\n".join(
    f'<section id="section-{i}"><h2>{html.escape(section.title)}</h2>\n'
    + "\n".join(_block(block) for block in section.blocks)
    + "\n</section>"
    for i, section in enumerate(sections)
  )
  under = f'<p class="subtitle">{html.escape(subtitle)}</p>' if subtitle else ""
  return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{html.escape(title)}</h1>{under}{contents}</header>
<main>
{body}
</main>
</body>
</html>
"""


def write_page(path: str | os.PathLike[str], content: str) -> None:
  """Writes a page as UTF-8, by a rename at the end."""
  replace_file(path, content)


def format_number(value: float | int | None, *, digits: int = 2) -> str:
  """A number with a fixed number of decimals; a dash for None and NaN."""
  if value is None or math.isnan(value):
    return _DASH
  if isinstance(value, int | np.integer):
    return f"{value:,}"
  return f"{value:.{digits}f}".replace("-", "−")


def mean_std(mean: float, std: float, *, digits: int = 2) -> str:
  """`94.43 ± 1.47`; a dash where the mean is missing."""
  text = format_number(mean, digits=digits)
  if text == _DASH or math.isnan(std):
    return text
  return f"{text} ± {format_number(std, digits=digits)}"


def interval(found: Interval | None, *, digits: int = 2) -> str:
  """`2.41 [2.30, 2.52]`; a dash where nothing was found."""
  if found is None:
    return _DASH
  mean, low, high = (
    format_number(value, digits=digits)
    for value in (found.mean, found.low, found.high)
  )
  return mean if mean == _DASH else f"{mean} [{low}, {high}]"


def _block(block: Block) -> str:
  match block:
    case Paragraph(text):
      return f"<p>{html.escape(text)}</p>"
    case Preformatted(text):
      return f"<pre>{html.escape(text)}</pre>"
    case Table():
      return _table(block)
    case Picture():
      return _picture(block)
    case Grid(pictures, caption, columns):
      inner = "\n".join(_picture(picture) for picture in pictures)
      tag = '<div class="grid">'
      if columns is not None:
        tag = f'<div class="columns" style="--columns: {columns}">'
      return f"{tag}{inner}</div>{_caption(caption, 'p')}"
    case _:
      raise TypeError(
        "sections: expected blocks Paragraph, Preformatted, Table, Picture or"
        f" Grid, got {type(block).__name__}"
      )


def _table(table: Table) -> str:
  lines = []
  for number, row in enumerate(table.rows):
    if len(row) != len(table.header):
      raise ValueError(
        f"table {table.caption!r}: expected {len(table.header)} cells as the"
        f" header has, got {len(row)} in row {number}"
      )
    lines.append(_row("td", [_cell(cell, table.digits) for cell in row], table))
  head = ""
  if any(table.header):
    titles = [html.escape(title) for title in table.header]
    head = f"<thead>{_row('th', titles, table)}</thead>"
  caption = _caption(table.caption, "caption")
  return (
    f'<div class="table"><table>{caption}{head}\n'
    f"<tbody>{chr(10).join(lines)}</tbody></table></div>"
  )


def _row(tag: str, cells: Sequence[str], table: Table) -> str:
  inner = "".join(
    f'<{tag} class="text">{cell}</{tag}>'
    if column in table.text_columns
    else f"<{tag}>{cell}</{tag}>"
    for column, cell in enumerate(cells)
  )
  return f"<tr>{inner}</tr>"


def _cell(cell: str | float | int | None, digits: int) -> str:
  if isinstance(cell, str):
    return html.escape(cell)
  return format_number(cell, digits=digits)


def _caption(text: str, tag: str) -> str:
  if not text:
    return ""
  return f'<{tag} class="caption">{html.escape(text)}</{tag}>'


def _picture(picture: Picture) -> str:
  image, kind = picture.image, "jpeg" if picture.is_photo else "png"
  if isinstance(image, Figure):
    width = round(96 * image.get_figwidth())
    content = (
      picture_jpeg(figure_image(image))
      if picture.is_photo
      else figure_png(image)
    )
  else:
    width = image.shape[1]
    content = (picture_jpeg if picture.is_photo else picture_png)(image)
  source = base64.b64encode(content).decode("ascii")
  alt = html.escape(picture.caption, quote=True)
  return (
    f'<figure style="width: {picture.width_px or width}px">'
    f'<img src="data:image/{kind};base64,{source}" alt="{alt}">'
    f"{_caption(picture.caption, 'figcaption')}</figure>"
  )


_STYLE = """
:root {
  --page: #ffffff; --ink: #1c2126; --soft: #59636e; --line: #d5dbe1;
  --stripe: #f5f7f9; --link: #0a58a8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181c; --ink: #e4e8ec; --soft: #9aa5b1; --line: #343c45;
    --stripe: #1c2228; --link: #7ab8f5;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 70rem;
  background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
    "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 {
  font-size: 1.3rem; margin: 2.6rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line);
}
p { max-width: 46rem; margin: .6rem 0; }
a { color: var(--link); }
.subtitle, .caption { color: var(--soft); }
nav ul {
  list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem;
  margin: .8rem 0 0; padding: 0; font-size: .95rem;
}
.caption { font-size: .9rem; }
.table { overflow-x: auto; margin: 1rem 0 1.4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: .92rem; }
caption {
  text-align: left; padding-bottom: .4rem; min-width: min(34rem, 90vw);
}
th, td {
  padding: .35rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line);
}
th { font-weight: 600; border-bottom-width: 2px; white-space: normal;
  vertical-align: bottom; }
.text { text-align: left; }
td.text {
  white-space: normal; overflow-wrap: break-word; min-width: 9rem;
  max-width: 24rem;
}
tbody tr:nth-child(even) { background: var(--stripe); }
figure { margin: 0 0 1rem; max-width: 100%; }
figure img {
  display: block; width: 100%; height: auto; background: #ffffff;
  border: 1px solid var(--line); border-radius: 4px;
}
figcaption { margin-top: .3rem; }
.grid { display: flex; flex-wrap: wrap; gap: .9rem; align-items: flex-start; }
.columns {
  display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr));
  gap: .9rem; align-items: start; margin-bottom: 1.2rem;
}
.grid figure, .columns figure { margin: 0; }
pre {
  overflow-x: auto; padding: .7rem .9rem; background: var(--stripe);
  border: 1px solid var(--line); border-radius: 4px; font-size: .88rem;
}
@media print { body { max-width: none; } figure, tr { break-inside: avoid; } }
"""
