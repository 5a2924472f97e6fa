"""One page of pictures: what the stages made of each photo."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import pathlib

import cv2
import numpy as np

from data_prep.fitting.fit_files import (
  MORPHABLE_MODEL,
  Fits,
  fits_path,
  read_fits,
)
from data_prep.fitting.summary import FittedPhoto, draw_fit
from data_prep.photos.photo_sets import read_photo
from data_prep.stages.about import read_counts, read_licences, read_passed_over
from data_prep.stages.rows import PhotoRow, list_manifests, read_shard_rows
from disentangle3d.evaluation.rows import evenly
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
)
from disentangle3d.geometry import apply_affine
from disentangle3d.reporting.html_page import (
  Grid,
  Paragraph,
  Picture,
  Preformatted,
  Row,
  Section,
  Table,
  page,
  write_page,
)
from disentangle3d.reporting.pictures import draw_landmarks
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH

_UPSCALE = 2
_HEIGHT = _UPSCALE * IMAGE_HEIGHT
_WIDTH = _UPSCALE * IMAGE_WIDTH
_WIDEST = 240
_GAP_PX = 6
# Two photos side by side on the page.
_SHOWN_PX = 530
_BOX_BLUE = (70, 170, 255)
_POINTS_ORANGE = (1.0, 0.6, 0.1)


@dataclasses.dataclass(frozen=True, eq=False)
class _Shown:
  """A photo to show.

  Attributes:
    row: As the last stage left it.
    fits: Of its shard, if photos were fitted.
    detected: Its row after the first stage.
  """

  row: PhotoRow
  fits: Fits | None
  detected: PhotoRow | None = None


def write_photo_page(
  path: pathlib.Path,
  stages: Mapping[str, pathlib.Path],
  commands: Sequence[str],
  *,
  most: int,
) -> None:
  """Writes the page.

  Args:
    path: Where to.
    stages: The folders of the stages that are done, detect_faces first, by
      the stages' names; with fit_faces, its fits are drawn.
    commands: What made them.
    most: How many photos are shown at most: up to half of them rejected ones,
      both kinds from all over the set.

  Raises:
    FileNotFoundError: A stage's folder is missing or incomplete.
    ValueError: A file in one is malformed.
  """
  first, last = list(stages.values())[0], list(stages.values())[-1]
  fitted = stages.get("fit_faces")
  model = None
  if fitted is not None:
    model = load_morphable_model(fitted / MORPHABLE_MODEL)
  ok, rejected = _choose(last, most, fitted=fitted is not None)
  names = {shown.row.image_id for shown in (*ok, *rejected)}
  detected = {
    row.image_id: row
    for manifest in list_manifests(first)
    for row in read_shard_rows(manifest)
    if row.image_id in names
  }
  sections = [_numbers(stages, commands)]
  for title, kept in (("Rejected", rejected), ("Taken", ok)):
    pictures = [
      _picture(
        dataclasses.replace(shown, detected=detected.get(shown.row.image_id)),
        model,
      )
      for shown in kept
    ]
    if pictures:
      sections.append(Section(f"{title} ({len(pictures)})", [Grid(pictures)]))
  write_page(path, page("What happened to the photos", sections))


def _choose(
  last: pathlib.Path, most: int, *, fitted: bool
) -> tuple[list[_Shown], list[_Shown]]:
  """Photos that are ok, and rejected ones."""
  counts = read_counts(last)
  num_ok = counts.get("ok", 0)
  num_rejected = sum(counts.values()) - num_ok
  few = min(num_rejected, max(most // 2, most - num_ok))
  wanted = {
    "ok": set(evenly(num_ok, most - few).tolist()),
    "rejected": set(evenly(num_rejected, few).tolist()),
  }
  found: dict[str, list[_Shown]] = {"ok": [], "rejected": []}
  seen = {"ok": 0, "rejected": 0}
  for manifest in list_manifests(last):
    fits = read_fits(fits_path(manifest)) if fitted else None
    for row in read_shard_rows(manifest):
      if seen[row.status] in wanted[row.status]:
        found[row.status].append(_Shown(row, fits))
      seen[row.status] += 1
  return found["ok"], found["rejected"]


def _numbers(
  stages: Mapping[str, pathlib.Path], commands: Sequence[str]
) -> Section:
  first, *_ = stages.values()
  counts: list[Row] = [
    ["files found", f"passed over, {kind}", count]
    for kind, count in read_passed_over(first).items()
  ]
  counts += [
    [stage, kind, count]
    for stage, folder in stages.items()
    for kind, count in read_counts(folder).items()
  ]
  licences = read_licences(list(stages.values())[-1])
  return Section(
    "Numbers",
    [
      Table(["after", "photos", "count"], counts, text_columns=(0, 1)),
      Table(
        ["licence of", "terms"],
        [[name, terms] for name, terms in licences.items()],
        text_columns=(0, 1),
      ),
      Preformatted("\n".join(commands)),
      Paragraph(
        "Each picture: the photo with the face's box and five points as they"
        " were detected; the crop with its 68 landmarks; the fit over the crop."
      ),
    ],
  )


def _picture(shown: _Shown, model: MorphableModel | None) -> Picture:
  row = shown.row
  parts = list(_panels(shown, model))
  gap = np.full((_HEIGHT, _GAP_PX, 3), 255, np.uint8)
  strip = [parts[0]]
  for part in parts[1:]:
    strip += [gap, part]
  return Picture(
    np.concatenate(strip, axis=1),
    f"{row.image_id}: {_outcome(shown)}",
    width_px=_SHOWN_PX,
    is_photo=True,
  )


def _outcome(shown: _Shown) -> str:
  if shown.row.status != "ok":
    return shown.row.reason
  place = _place(shown)
  if shown.fits is None or place < 0:
    return "ok"
  return f"landmarks met within {shown.fits.rmse_px[place]:.2f} px rms"


def _place(shown: _Shown) -> int:
  if shown.fits is None:
    return -1
  places = np.flatnonzero(shown.fits.image_id == shown.row.image_id)
  return int(places[0]) if len(places) else -1


def _panels(
  shown: _Shown, model: MorphableModel | None
) -> Iterator[np.ndarray]:
  """Photo, crop with landmarks, fit; grey where a photo did not come so far."""
  row = shown.row
  yield _photo_panel(shown.detected or row)
  if (
    row.crop_path is None
    or row.crop_from_photo is None
    or row.landmarks is None
  ):
    yield _nothing()
  else:
    crop = read_photo(row.crop_path)
    points = apply_affine(row.crop_from_photo, row.landmarks)
    yield draw_landmarks(
      crop,
      np.asarray(points),
      visibility=row.visibility,
      upscale=_UPSCALE,
      radius_px=0.9,
    )
  place = _place(shown)
  if model is None or shown.fits is None or place < 0:
    yield _nothing()
  else:
    yield draw_fit(FittedPhoto(row, shown.fits, place), model, upscale=_UPSCALE)


def _photo_panel(row: PhotoRow) -> np.ndarray:
  """The whole photo in the middle of `[224, 240]`, its box and five points."""
  try:
    photo = read_photo(row.image_path, most_megapixels=None)
  except (ValueError, OSError):
    return _nothing(_WIDEST)
  height, width = photo.shape[:2]
  factor = min(_HEIGHT / height, _WIDEST / width)
  size = (max(1, round(factor * width)), max(1, round(factor * height)))
  method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
  small = cv2.resize(photo, size, interpolation=method)
  # Pixel centres are at integers in both.
  scale = np.array([[size[0] / width, size[1] / height]])
  if row.box is not None:
    ends = (np.reshape(row.box, (2, 2)) + 0.5) * scale - 0.5
    corner, far = np.round(ends).astype(int).tolist()
    cv2.rectangle(small, corner, far, _BOX_BLUE, 2)
  if row.five_points is not None:
    small = draw_landmarks(
      small,
      (row.five_points + 0.5) * scale - 0.5,
      upscale=1,
      radius_px=2.5,
      color=_POINTS_ORANGE,
    )
  panel = _nothing(_WIDEST)
  top, left = (_HEIGHT - size[1]) // 2, (_WIDEST - size[0]) // 2
  panel[top : top + size[1], left : left + size[0]] = small
  return panel


def _nothing(width: int = _WIDTH) -> np.ndarray:
  return np.full((_HEIGHT, width, 3), 235, np.uint8)
