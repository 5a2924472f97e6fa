"""The page of an inspected dataset: what is in it, and what is wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence
import json
from typing import Any

import numpy as np

from data_prep.datasets.checks import Inspection, count_repeats
from data_prep.datasets.content import (
  Limits,
  RecordedPhoto,
  Violation,
  read_records,
)
from data_prep.datasets.shards import STAGES
from disentangle3d.reporting.charts import histogram
from disentangle3d.reporting.html_page import (
  Block,
  Grid,
  Paragraph,
  Picture,
  Preformatted,
  Section,
  Table,
  page,
)
from disentangle3d.reporting.pictures import contact_sheet, draw_landmarks
from disentangle3d.training.records import decode_image

_COLUMNS = 5
_LISTED = 100
_PICTURED = 20
_FEWEST = 5
_PERCENTILES = (0, 5, 50, 95, 100)
# Settings that the page tells otherwise, or that grow with the dataset.
_TOLD = (
  "licences",
  "stages",
  "rejected_by_reason",
  "counts",
  "rejected",
  "heldout_people",
)


def inspection_page(found: Inspection, *, shown: int, seed: int = 0) -> str:
  """The page.

  Args:
    found: What it tells of.
    shown: How many photos of each split to show.
    seed: Of their pick.

  Returns:
    One self-contained HTML page.
  """
  sections = [
    _verdict(found.violations),
    *_pictured(found),
    _splits(found.splits),
    *(
      _sheet(name, photos, shown, np.random.default_rng((seed, number)))
      for number, (name, photos) in enumerate(found.splits.items())
      if photos and shown
    ),
    _ranges(found.splits, found.limits),
    _origin(found.manifest),
  ]
  total = sum(len(photos) for photos in found.splits.values())
  return page(
    f"Dataset {found.folder.resolve().name}",
    sections,
    subtitle=f"{total:,} photos, {len(found.violations):,} violations",
  )


def _verdict(violations: Sequence[Violation]) -> Section:
  if not violations:
    return Section("Verdict", [Paragraph("Nothing wrong was found.")])
  counts = Counter(violation.kind for violation in violations)
  blocks: list[Block] = [
    Table(["kind", "violations"], sorted(counts.items())),
    Table(
      ["kind", "where", "what"],
      [[v.kind, v.where, v.message] for v in violations[:_LISTED]],
      f"The first {_LISTED} of {len(violations):,}."
      if len(violations) > _LISTED
      else "",
      text_columns=(0, 1, 2),
    ),
  ]
  return Section("Verdict", blocks)


def _pictured(found: Inspection) -> list[Section]:
  kinds: dict[str, list[Picture]] = {}
  for violation in found.violations:
    pictures = kinds.setdefault(violation.kind, [])
    if violation.photos and len(pictures) < _PICTURED:
      photos = [found.splits[name][index] for name, index in violation.photos]
      sheet = _draw(photos, [name for name, _ in violation.photos])
      pictures.append(Picture(sheet, str(violation)))
  return [
    Section(f"Violations: {kind}", [Grid(pictures)])
    for kind, pictures in kinds.items()
    if pictures
  ]


def _draw(photos: Sequence[RecordedPhoto], labels: Sequence[str]) -> np.ndarray:
  pictures = []
  for record in read_records(photos):
    crop = decode_image(record["image"])
    pictures.append(
      draw_landmarks(
        crop,
        record["landmarks"],
        visibility=record["visibility"],
        upscale=2,
        radius_px=0.8,
      )
    )
  return contact_sheet(pictures, columns=_COLUMNS, labels=labels)


def _splits(splits: Mapping[str, Sequence[RecordedPhoto]]) -> Section:
  people = {
    name: Counter(photo.subject for photo in photos)
    for name, photos in splits.items()
  }
  rows = [
    _split_row(name, photos, people[name]) for name, photos in splits.items()
  ]
  blocks: list[Block] = [
    Table(
      [
        "split",
        "photos",
        "people",
        "fewest of a person",
        "median",
        "most",
        "repeats within",
        "under two names",
      ],
      rows,
      "Repeats have the very pixels of a photo before them in their split.",
    )
  ]
  charts = [
    _photos_a_person(name, list(counts.values()))
    for name, counts in people.items()
    # Where all have equally many there is nothing to draw.
    if len(set(counts.values())) > 1
  ]
  if charts:
    blocks.append(Grid(charts))
  ends: list[list[str | int]] = [
    [name, subject, count]
    for name, counts in people.items()
    for subject, count in _fewest_and_most(counts)
  ]
  blocks.append(
    Table(
      ["split", "person", "photos"],
      ends,
      f"People with fewest and most photos, {_FEWEST} each.",
      text_columns=(0, 1),
    )
  )
  return Section("People and photos", blocks)


def _split_row(
  name: str, photos: Sequence[RecordedPhoto], people: Mapping[str, int]
) -> list[str | int]:
  counts = list(people.values()) or [0]
  repeats = count_repeats(photos)
  return [
    name,
    len(photos),
    len(people),
    min(counts),
    int(np.median(counts)),
    max(counts),
    repeats.photos,
    repeats.two_people,
  ]


def _photos_a_person(name: str, counts: Sequence[int]) -> Picture:
  return Picture(
    histogram(
      np.array(counts),
      x_label="photos of a person",
      y_label="people",
      title=name,
      bins=min(50, max(counts) - min(counts)),
    )
  )


def _fewest_and_most(people: Mapping[str, int]) -> list[tuple[str, int]]:
  ordered = sorted(people.items(), key=lambda item: (item[1], item[0]))
  return ordered[:_FEWEST] + ordered[_FEWEST:][-_FEWEST:]


def _sheet(
  name: str,
  photos: Sequence[RecordedPhoto],
  shown: int,
  rng: np.random.Generator,
) -> Section:
  count = min(shown, len(photos))
  picked = np.sort(rng.choice(len(photos), count, replace=False))
  chosen = [photos[i] for i in picked]
  return Section(
    f"Photos of {name!r}",
    [
      Picture(
        _draw(chosen, [photo.image_id for photo in chosen]),
        f"{count} of {len(photos):,}, picked at random, with their landmarks"
        " (rings: not visible).",
      )
    ],
  )


def _ranges(
  splits: Mapping[str, Sequence[RecordedPhoto]], limits: Limits
) -> Section:
  photos = [photo for part in splits.values() for photo in part]
  if not photos:
    return Section("Ranges", [Paragraph("No photo could be read.")])
  measures = {
    "largest identity coefficient (sd)": (
      [photo.identity_size for photo in photos],
      f"at most {limits.max_coefficient:g}",
    ),
    "largest expression coefficient (sd)": (
      [photo.expression_size for photo in photos],
      f"at most {limits.max_coefficient:g}",
    ),
    "outermost landmark, outside the crop (px)": (
      [photo.outside_px for photo in photos],
      f"at most {limits.landmark_margin_px:g}",
    ),
    "contrast (grey levels)": (
      [photo.picture.contrast for photo in photos],
      f"at least {limits.min_contrast:g}",
    ),
    "brightness (grey levels)": (
      [photo.picture.brightness for photo in photos],
      "",
    ),
  }
  rows, charts = [], []
  for name, (values, limit) in measures.items():
    finite = np.array(values)[np.isfinite(values)]
    if not len(finite):
      continue
    rows.append([name, *np.percentile(finite, _PERCENTILES), limit])
    charts.append(Picture(histogram(finite, x_label=name)))
  header = ["a photo's", *(f"{q} %" for q in _PERCENTILES), "limit"]
  last = len(header) - 1
  return Section(
    "Ranges",
    [
      Table(
        header,
        rows,
        "At most so much in so many of the photos.",
        text_columns=(0, last),
      ),
      Grid(charts),
    ],
  )


def _origin(manifest: Mapping[str, Any]) -> Section:
  model = manifest["morphable_model"]
  created = manifest.get("created", {})
  settings = created.get("settings", {})
  licences = {
    str(model.get("name", "3DMM")): model.get("licence", ""),
    **settings.get("licences", {}),
  }
  blocks: list[Block] = [
    Paragraph(f"3DMM: {model.get('name', '')}. {model.get('source', '')}"),
    *(Paragraph(f"Licence of {k}: {v}") for k, v in sorted(licences.items())),
  ]
  if stages := settings.get("stages"):
    rows = [[name, stages.get(name)] for name in STAGES]
    blocks.append(Table(["came as far as", "photos"], rows))
  if reasons := settings.get("rejected_by_reason"):
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    blocks.append(Table(["rejected because", "photos"], ordered))
  other = {k: v for k, v in settings.items() if k not in _TOLD}
  for title, values in (
    ("Settings it was made with", other),
    ("Versions it was made with", created.get("versions")),
  ):
    if values:
      text = json.dumps(values, indent=1, sort_keys=True)
      blocks += [Paragraph(f"{title}:"), Preformatted(text)]
  return Section("Where it comes from", blocks)
