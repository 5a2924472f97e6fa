"""What an evaluation found, on disk, so that `experiments.report` can join it.

<folder>/section.json (sections of a page, and the numbers that go into the
paper's tables), the pictures it names (PNG), and page.html, the sections by
themselves. Written under another name and renamed, so a folder is whole or
not there.
"""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
from typing import Any

from matplotlib.figure import Figure
import numpy as np
from PIL import Image

from disentangle3d.folder_use import sole_use
from disentangle3d.input_files import existing_file
from disentangle3d.output_files import check_folder, new_folder
from disentangle3d.reporting.charts import figure_png
from disentangle3d.reporting.html_page import (
  Block,
  Grid,
  Paragraph,
  Picture,
  Preformatted,
  Section,
  Table,
  page,
  write_page,
)
from disentangle3d.reporting.pictures import picture_png
from disentangle3d.types import UserError, UserFileNotFoundError
from experiments.pages.paper_tables import PAPER_TABLES, Cell, Measured

FILE, PAGE = "section.json", "page.html"
_FORMAT = "disentangle3d sections, version 1"
_PIXELS_AN_INCH = 96


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
  """What one evaluation found.

  Attributes:
    title: Of its own page.
    sections: To show.
    measured: Rows for the paper's tables.
  """

  title: str
  sections: Sequence[Section]
  measured: Measured


def join_findings(
  title: str, parts: Iterable[tuple[Sequence[Section], Measured]]
) -> Findings:
  """One after the other; rows for one of the paper's tables go together."""
  sections: list[Section] = []
  measured: dict[str, dict[str, Sequence[Cell]]] = {}
  for part, tables in parts:
    sections += part
    for key, rows in tables.items():
      measured.setdefault(key, {}).update(rows)
  return Findings(title, sections, measured)


@contextlib.contextmanager
def output_of(folder: str | os.PathLike[str], title: str) -> Iterator[None]:
  """Keeps the folder of an evaluation from all others while it runs.

  What `save_findings` would refuse after all the work is refused at once.

  Args:
    folder: New, empty, or an earlier evaluation's of the same title.
    title: What is evaluated.

  Raises:
    UserError: `folder` holds something else, cannot be written to, or is
      another process's at the moment.
  """
  _check_output(folder, title)
  folder = pathlib.Path(os.path.abspath(folder))
  # Findings replace their folder, so that the mark lies beside it.
  with sole_use(folder.with_name(f".{folder.name}.in-use")):
    yield


def _check_output(folder: str | os.PathLike[str], title: str) -> None:
  """Refuses what holds something else than findings of this title."""
  check_folder(folder)
  folder = pathlib.Path(folder)
  expected = (
    f"{folder}: expected a new or an empty folder, or one of an earlier"
    " evaluation of the same kind, got"
  )
  if (folder / FILE).is_file():
    if (earlier := _title(folder / FILE)) not in (None, title):
      raise UserError(f"{expected} one of {earlier!r}; give another --output")
  elif folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
    raise UserError(f"{expected} another")


def _title(path: pathlib.Path) -> str | None:
  """Of the findings in a file; None where it is damaged."""
  try:
    title = json.loads(path.read_text())["title"]
  except (ValueError, KeyError, TypeError):
    return None
  return title if isinstance(title, str) else None


def save_findings(folder: str | os.PathLike[str], findings: Findings) -> None:
  """Writes findings, over what an earlier run wrote there.

  Raises:
    UserError: `folder` holds something else.
  """
  _check_output(folder, findings.title)
  folder = pathlib.Path(folder)
  # The earlier findings go when the new ones are whole.
  fresh = folder.with_name(f".{folder.name}.new")
  shutil.rmtree(fresh, ignore_errors=True)
  with new_folder(fresh) as partial:
    pictures: list[bytes] = []
    content = {
      "format": _FORMAT,
      "title": findings.title,
      "sections": [
        {
          "title": section.title,
          "blocks": [_to_json(block, pictures) for block in section.blocks],
        }
        for section in findings.sections
      ],
      "measured": {
        key: {name: list(map(_cell, cells)) for name, cells in rows.items()}
        for key, rows in findings.measured.items()
      },
    }
    for number, png in enumerate(pictures):
      (partial / f"picture{number:02d}.png").write_bytes(png)
    (partial / FILE).write_text(
      json.dumps(content, indent=1, allow_nan=False) + "\n"
    )
    write_page(partial / PAGE, page(findings.title, findings.sections))
  if folder.exists():
    shutil.rmtree(folder)
  fresh.rename(folder)


def save_as_found(
  folder: str | os.PathLike[str],
  title: str,
  parts: Iterable[tuple[Sequence[Section], Measured]],
) -> None:
  """Writes the findings after each part, so that a kill loses one alone.

  Raises:
    UserError: `folder` holds something else.
  """
  done: list[tuple[Sequence[Section], Measured]] = []
  for part in parts:
    done.append(part)
    save_findings(folder, join_findings(title, done))
  if not done:
    save_findings(folder, join_findings(title, done))


def load_findings(folder: str | os.PathLike[str]) -> Findings:
  """Reads what `save_findings` wrote.

  Raises:
    UserFileNotFoundError: There is none, or a picture is missing.
    UserError: It is not of this format.
  """
  folder = pathlib.Path(folder)
  path = existing_file(folder / FILE)
  try:
    content = json.loads(path.read_text())
    if content["format"] != _FORMAT:
      raise UserError(f"another format: {content['format']!r}")
    sections = [
      Section(
        section["title"],
        [_from_json(block, folder) for block in section["blocks"]],
      )
      for section in content["sections"]
    ]
    measured = content["measured"]
    for key, rows in measured.items():
      width = len(PAPER_TABLES[key].columns)
      if any(len(cells) != width for cells in rows.values()):
        raise UserError(f"{key}: expected {width} cells a row")
    return Findings(content["title"], sections, measured)
  except UserFileNotFoundError:
    raise
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise UserError(f"{path}: expected {_FORMAT!r} ({error})") from error


def _to_json(block: Block, pictures: list[bytes]) -> dict[str, Any]:
  kind = type(block).__name__
  match block:
    case Picture():
      if isinstance(block.image, Figure):
        png = figure_png(block.image)
        width = round(_PIXELS_AN_INCH * block.image.get_figwidth())
      else:
        png, width = picture_png(block.image), block.image.shape[1]
      pictures.append(png)
      return {
        "kind": kind,
        "picture": len(pictures) - 1,
        "caption": block.caption,
        "width_px": block.width_px or width,
        "is_photo": block.is_photo,
      }
    case Grid():
      inner = [_to_json(picture, pictures) for picture in block.pictures]
      return {
        "kind": kind,
        "pictures": inner,
        "caption": block.caption,
        "columns": block.columns,
      }
    case Table():
      rows = [[_cell(cell) for cell in row] for row in block.rows]
      fields = dataclasses.asdict(dataclasses.replace(block, rows=()))
      return {"kind": kind, **fields, "rows": rows}
    case _:
      return {"kind": kind, "text": block.text}


def _cell(cell: Any) -> Any:
  if isinstance(cell, tuple):
    # A mean without a number is a dash, whatever its spread.
    return None if _cell(cell[0]) is None else list(map(_cell, cell))
  if isinstance(cell, np.generic):
    cell = cell.item()
  # NaN is no JSON; both are a dash.
  return None if isinstance(cell, float) and np.isnan(cell) else cell


def _from_json(fields: dict[str, Any], folder: pathlib.Path) -> Block:
  fields = dict(fields)
  kind = fields.pop("kind")
  match kind:
    case "Picture":
      path = existing_file(folder / f"picture{fields.pop('picture'):02d}.png")
      with Image.open(io.BytesIO(path.read_bytes())) as image:
        return Picture(np.asarray(image.convert("RGB")), **fields)
    case "Grid":
      pictures = (_from_json(one, folder) for one in fields["pictures"])
      return Grid(
        [one for one in pictures if isinstance(one, Picture)],
        fields["caption"],
        fields.get("columns"),
      )
    case "Table":
      return Table(**fields)
    case "Paragraph":
      return Paragraph(**fields)
    case "Preformatted":
      return Preformatted(**fields)
    case _:
      raise UserError(f"no such block: {kind!r}")
