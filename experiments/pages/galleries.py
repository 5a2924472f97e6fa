"""Fig. 1, 5 and 8: photos beside what methods make of them.

A method makes of each photo a full shape, an identity shape, or both; all are
laid over the mean shape by their landmarks, so that meshes of any unit and
pose can stand side by side.
"""

from collections.abc import Mapping, Sequence
import dataclasses

from jaxtyping import Float, Int, UInt8
import numpy as np

from disentangle3d.evaluation.icp import similarity
from disentangle3d.evaluation.scans import Scan, scan_of
from disentangle3d.reporting.figures import render_shape
from disentangle3d.reporting.galleries import Box, gallery
from disentangle3d.reporting.html_page import Picture
from disentangle3d.types import UserError
from experiments.sets.meshes import MeshFolder, read_prediction

FULL, IDENTITY = "full shape", "identity shape"
# As in the paper's Fig. 8: a blue box, and a red one.
_COLORS = {FULL: "#0072B2", IDENTITY: "#D55E00"}
_MARGIN = 1.12


@dataclasses.dataclass(frozen=True, eq=False)
class GalleryPhoto:
  """A photo to show.

  Attributes:
    title: What to call it.
    image: The crop.
    shapes: Method to the full shape it made, None where there is none.
    identity_shapes: Method to the identity shape it made, or None.
  """

  title: str
  image: UInt8[np.ndarray, "112 96 3"]
  shapes: Mapping[str, Scan | None]
  identity_shapes: Mapping[str, Scan | None]


def scans_of(
  shapes: Float[np.ndarray, "N V 3"],
  triangles: Int[np.ndarray, "F 3"],
  landmark_vertices: Int[np.ndarray, "68"],
) -> list[Scan]:
  """Shapes of the networks' topology, to be shown."""
  return [scan_of(shape, triangles, landmark_vertices) for shape in shapes]


def read_meshes(
  folders: Sequence[MeshFolder], photos: Sequence[str]
) -> tuple[list[dict[str, Scan | None]], list[dict[str, Scan | None]]]:
  """Other methods' full and identity shapes of each photo.

  Args:
    folders: The methods.
    photos: Names without suffix, as `read_prediction` takes them.

  Returns:
    One mapping a photo, twice; a method without any identity shape, or any
    full one, is left out there.

  Raises:
    UserError: A mesh is broken, or a folder has none of these photos.
  """
  found = []
  for identity in (False, True):
    kind: dict[str, list[Scan | None]] = {}
    for one in folders:
      made = [
        read_prediction(one, photo, identity=identity) for photo in photos
      ]
      if any(scan is not None for scan in made):
        kind[one.name] = made
    found.append(
      [
        {name: made[row] for name, made in kind.items()}
        for row in range(len(photos))
      ]
    )
  for one in folders:
    if not any(one.name in kind[0] for kind in found if kind):
      raise UserError(
        f"{one.folder}: expected meshes as {photos[0]}.obj, got none of the"
        " photos shown"
      )
  return found[0], found[1]


def photo_gallery(
  photos: Sequence[GalleryPhoto],
  mean: Scan,
  *,
  caption: str,
  size_px: int = 512,
) -> Picture:
  """One photo a row: itself, the full shapes, the identity shapes.

  Args:
    photos: At least one; all with the same methods.
    mean: The shape that all are laid over.
    caption: Of the picture.
    size_px: Of each cell.
  """
  extent = _extent(mean)
  rows = []
  for photo in photos:
    cells: list[np.ndarray | None] = [photo.image]
    for scan in (*photo.shapes.values(), *photo.identity_shapes.values()):
      cells.append(None if scan is None else _view(scan, mean, size_px, extent))
    rows.append(cells)
  whole, neutral = list(photos[0].shapes), list(photos[0].identity_shapes)
  boxes, start = [], 1
  for kind, names in ((FULL, whole), (IDENTITY, neutral)):
    if names:
      boxes.append(Box((start, start + len(names)), kind, _COLORS[kind]))
      start += len(names)
  figure = gallery(
    rows,
    row_labels=[photo.title for photo in photos],
    column_labels=["photo", *whole, *neutral],
    boxes=boxes,
    cell_px=size_px,
    extent_mm=extent,
  )
  return Picture(figure, caption, width_px=1200, is_photo=True)


def strip(
  photos: Sequence[GalleryPhoto],
  mean: Scan,
  method: str,
  *,
  caption: str,
  size_px: int = 512,
) -> Picture:
  """Fig. 1: photos above, full shapes below them, identity shapes below."""
  extent = _extent(mean)
  rows: list[list[np.ndarray | None]] = [[photo.image for photo in photos]]
  for kind in ("shapes", "identity_shapes"):
    made = [getattr(photo, kind)[method] for photo in photos]
    rows.append([_view(scan, mean, size_px, extent) for scan in made])
  figure = gallery(
    rows,
    row_labels=["photo", FULL, IDENTITY],
    column_labels=[photo.title for photo in photos],
    cell_px=size_px,
    extent_mm=extent,
  )
  return Picture(figure, caption, width_px=1200, is_photo=True)


def laid_over(scan: Scan, mean: Scan) -> Float[np.ndarray, "V 3"]:
  """A mesh in the mean shape's frame and size, by their common landmarks.

  Raises:
    UserError: They have fewer than three landmarks in common.
  """
  known = np.isfinite(scan.landmarks).all(1) & np.isfinite(mean.landmarks).all(
    1
  )
  if known.sum() < 3:
    raise UserError(
      "landmarks: expected 3 or more that a mesh shares with the mean shape,"
      f" got {known.sum()}"
    )
  motion = similarity(
    scan.landmarks[known], mean.landmarks[known], with_scale=True
  )
  return motion.apply(scan.surface.vertices)


def _view(
  scan: Scan, mean: Scan, size_px: int, extent_mm: float
) -> UInt8[np.ndarray, "H W 3"]:
  return render_shape(
    laid_over(scan, mean).astype(np.float32),
    scan.surface.triangles,
    size_px=size_px,
    extent_mm=extent_mm,
  )


def _extent(mean: Scan) -> float:
  return _MARGIN * float(np.ptp(mean.surface.vertices, axis=0)[:2].max())
