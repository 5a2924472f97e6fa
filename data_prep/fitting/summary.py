"""What came of fitting a set: `summary.json`, and a page of pictures."""

from collections.abc import Iterator, Sequence
import dataclasses
import heapq
import json
import pathlib
from typing import Any

import numpy as np

from data_prep.fitting.fit_files import Fits, fits_path, read_fits
from data_prep.photos.crops import warp_crop
from data_prep.photos.photo_sets import read_photo
from data_prep.stages.rows import (
  PhotoRow,
  count_rows,
  list_manifests,
  read_shard_rows,
)
from disentangle3d.faces.morphable_model import MorphableModel, synthesize_shape
from disentangle3d.fitting.calibration_choice import calibration_text
from disentangle3d.geometry import Camera, apply_affine
from disentangle3d.output_files import replace_file
from disentangle3d.reporting.charts import Series, histogram, line_chart
from disentangle3d.reporting.figures import overlay_mesh
from disentangle3d.reporting.html_page import (
  Block,
  Grid,
  Paragraph,
  Picture,
  Section,
  Table,
  page,
  write_page,
)
from disentangle3d.reporting.pictures import draw_landmarks
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError

SUMMARY = "summary.json"
PAGE = "summary.html"
_SHOWN = 20
_UPSCALE = 3
_PERCENTILES = (5, 25, 50, 75, 95, 99, 100)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedPhoto:
  """One photo with its fit.

  Attributes:
    row: Its row.
    fits: Of its shard.
    place: Its place in them.
  """

  row: PhotoRow
  fits: Fits
  place: int

  @property
  def error(self) -> float:
    """`Fits.relative_error`."""
    return float(self.fits.relative_error[self.place])


@dataclasses.dataclass
class _Moments:
  """Sums over coefficient vectors `[C]`."""

  count: int = 0
  total: Any = 0.0
  square: Any = 0.0
  beyond: int = 0

  def add(self, rows: np.ndarray) -> None:
    """Takes `[P, C]` in."""
    rows = rows.astype(np.float64)
    self.count += len(rows)
    self.total = self.total + rows.sum(0)
    self.square = self.square + (rows**2).sum(0)
    self.beyond += int((np.abs(rows) > 3).sum())

  def statistics(self) -> dict[str, Any]:
    """Mean and standard deviation of each mode, and of all."""
    mean = self.total / self.count
    std = np.sqrt(np.maximum(self.square / self.count - mean**2, 0))
    every_mean = float(mean.mean())
    every_std = float(np.sqrt((self.square / self.count).mean()))
    return {
      "vectors": self.count,
      "mean": every_mean,
      "rms": every_std,
      "beyond_3": self.beyond / (self.count * len(mean)),
      "mean_of_each_mode": [round(float(x), 4) for x in mean],
      "std_of_each_mode": [round(float(x), 4) for x in std],
    }


def write_fit_summary(folder: pathlib.Path, model: MorphableModel) -> None:
  """Writes `summary.json` and `summary.html` into what fit_faces wrote.

  Args:
    folder: All shards are there.
    model: What was fitted.

  Raises:
    UserError: A file of it is malformed.
  """
  rmse, relative = [], []
  identity, expression = _Moments(), _Moments()
  counts: dict[str, int] = {}
  best: list[Any] = []
  worst: list[Any] = []
  rejected: list[FittedPhoto] = []
  for number, (rows, fits) in enumerate(_shards(folder)):
    for kind, count in count_rows(rows).items():
      counts[kind] = counts.get(kind, 0) + count
    places = {name: i for i, name in enumerate(fits.image_id.tolist())}
    ok = [row for row in rows if row.status == "ok"]
    kept = np.array([places[row.image_id] for row in ok], int)
    rmse.append(fits.rmse_px[kept])
    relative.append(fits.relative_error[kept])
    expression.add(fits.expression_coefficients[kept])
    people = np.unique([row.subject for row in ok], return_index=True)[1]
    identity.add(fits.identity_coefficients[kept[people]])
    for place, row in zip(kept, ok, strict=True):
      photo = FittedPhoto(row, fits, int(place))
      # The order breaks ties, so that photos are never compared.
      _keep(worst, (photo.error, number, int(place), photo))
      _keep(best, (-photo.error, number, int(place), photo))
    if len(rejected) < _SHOWN:
      rejected += [
        FittedPhoto(row, fits, places.get(row.image_id, -1))
        for row in rows
        if row.status != "ok"
      ]
  if not identity.count:
    raise UserError(f"{folder}: no photo is left after fitting")
  worst_first = [item[-1] for item in sorted(worst, key=_order, reverse=True)]
  best_first = [item[-1] for item in sorted(best, key=_order, reverse=True)]
  summary = {
    "counts": counts,
    "landmark_calibration": calibration_text(model),
    "rmse_px": _percentiles(np.concatenate(rmse)),
    "relative_error": _percentiles(np.concatenate(relative)),
    "identity_coefficients": identity.statistics(),
    "expression_coefficients": expression.statistics(),
    "worst": [photo.row.image_id for photo in worst_first],
    "best": [photo.row.image_id for photo in best_first],
    "skipped_rows": len(json.loads((folder / "skipped.json").read_text())),
  }
  text = json.dumps(summary, indent=2, sort_keys=True) + "\n"
  replace_file(folder / SUMMARY, text)
  sections = [
    _numbers(summary, np.concatenate(rmse)),
    _coefficients(summary),
    _faces("Worst fits", worst_first, model),
    _faces("Best fits", best_first, model),
    _rejected(rejected[:_SHOWN], counts, model),
  ]
  write_page(
    folder / PAGE,
    page("Landmark fits", sections, subtitle=f"{model.name}: {model.licence}"),
  )


def _shards(folder: pathlib.Path) -> Iterator[tuple[list[PhotoRow], Fits]]:
  for manifest in list_manifests(folder):
    yield read_shard_rows(manifest), read_fits(fits_path(manifest))


def _keep(heap: list[Any], item: tuple[float, int, int, FittedPhoto]) -> None:
  if len(heap) < _SHOWN:
    heapq.heappush(heap, item)
  else:
    heapq.heappushpop(heap, item)


def _order(item: tuple[float, int, int, FittedPhoto]) -> tuple[float, int, int]:
  return item[:3]


def _percentiles(values: np.ndarray) -> dict[str, float]:
  found = np.percentile(values, _PERCENTILES)
  return {
    str(q): round(float(v), 5) for q, v in zip(_PERCENTILES, found, strict=True)
  }


def _numbers(summary: dict[str, Any], rmse_px: np.ndarray) -> Section:
  rows = [
    [
      f"{q} %",
      summary["rmse_px"][str(q)],
      100 * summary["relative_error"][str(q)],
    ]
    for q in _PERCENTILES
  ]
  counts: list[list[str | int]] = [
    [kind, count] for kind, count in summary["counts"].items()
  ]
  if summary["skipped_rows"]:
    counts.append(["rows skipped (skipped.json)", summary["skipped_rows"]])
  return Section(
    "Distances",
    [
      Paragraph(f"Landmark calibration: {summary['landmark_calibration']}."),
      Table(["photos", "count"], counts),
      Picture(
        histogram(rmse_px, x_label="reprojection error (px rms)"),
        "Root mean square distance between landmarks and fit, a photo each.",
      ),
      Table(
        ["at most, of the photos", "rmse (px)", "of the face's size (%)"],
        rows,
        "The face's size is its outer eye distance, 90 mm under the camera.",
      ),
    ],
  )


def _coefficients(summary: dict[str, Any]) -> Section:
  series = {}
  rows = []
  for name in ("identity", "expression"):
    found = summary[f"{name}_coefficients"]
    std = found["std_of_each_mode"]
    series[name] = Series(np.arange(1, len(std) + 1), std)
    rows.append(
      [
        name,
        found["vectors"],
        found["mean"],
        found["rms"],
        100 * found["beyond_3"],
      ]
    )
  longest = max(len(line.x) for line in series.values())
  series["prior"] = Series([1, longest], [1.0, 1.0])
  return Section(
    "Coefficients against their prior, N(0, 1)",
    [
      Table(["", "vectors", "mean", "rms", "beyond 3 (%)"], rows, digits=3),
      Picture(
        line_chart(
          series,
          x_label="mode",
          y_label="standard deviation over the set",
          marks=False,
        ),
        "Fits shrink towards 0 what landmarks do not determine, so later modes"
        " vary less than the prior says.",
      ),
    ],
  )


def _faces(
  title: str, photos: Sequence[FittedPhoto], model: MorphableModel
) -> Section:
  pictures = [
    Picture(
      draw_fit(photo, model),
      f"{photo.row.image_id}: {photo.fits.rmse_px[photo.place]:.2f} px",
      width_px=_UPSCALE * IMAGE_WIDTH,
    )
    for photo in photos
  ]
  return Section(title, [Grid(pictures)])


def _rejected(
  photos: Sequence[FittedPhoto], counts: dict[str, int], model: MorphableModel
) -> Section:
  total = sum(count for kind, count in counts.items() if kind != "ok")
  if not photos:
    return Section("Rejected", [Paragraph("No photo was rejected.")])
  blocks: list[Block] = [
    Paragraph(f"{total} photos; the first {len(photos)} of them:")
  ]
  pictures = [
    Picture(
      draw_fit(photo, model),
      f"{photo.row.image_id}: {photo.row.reason}",
      width_px=_UPSCALE * IMAGE_WIDTH,
    )
    for photo in photos
  ]
  return Section("Rejected", [*blocks, Grid(pictures)])


def draw_fit(
  photo: FittedPhoto, model: MorphableModel, *, upscale: int = _UPSCALE
) -> np.ndarray:
  """Mesh and landmarks over the crop; grey where there is no photo.

  Args:
    photo: Its place is -1 where there is no fit.
    model: Of the fits.
    upscale: The picture's size over the crop's, a whole number.
  """
  row, fits, place = photo.row, photo.fits, photo.place
  crop = _crop(row)
  if place >= 0:
    shape = synthesize_shape(
      model,
      fits.identity_coefficients[place],
      fits.expression_coefficients[place],
    )
    camera = Camera(
      fits.camera_scale[place],
      fits.camera_rotation[place],
      fits.camera_translation[place],
    )
    picture = overlay_mesh(
      crop, shape, model.triangles, camera, upscale=upscale
    )
  else:
    picture = np.kron(crop, np.ones((upscale, upscale, 1), np.uint8))
  if row.landmarks is None or row.crop_from_photo is None:
    return picture
  # Pixel centres are at integers in both pictures.
  marks = np.asarray(apply_affine(row.crop_from_photo, row.landmarks))
  return draw_landmarks(
    picture,
    (marks + 0.5) * upscale - 0.5,
    visibility=row.visibility,
    upscale=1,
    radius_px=2.0,
  )


def _crop(row: PhotoRow) -> np.ndarray:
  try:
    if row.crop_path is not None:
      return read_photo(row.crop_path)
    if row.crop_from_photo is not None:
      return warp_crop(
        read_photo(row.image_path, most_megapixels=None), row.crop_from_photo
      )
  except (OSError, ValueError):
    pass
  return np.full((IMAGE_HEIGHT, IMAGE_WIDTH, 3), 128, np.uint8)
