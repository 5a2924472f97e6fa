"""Crops of published photographs, with a stand-in where there is no face."""

from collections.abc import Sequence

from jaxtyping import Int, UInt8
import numpy as np

from data_prep.photos.photo_sets import read_photo
from data_prep.stages.rows import PhotoRow
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH, UserError
from experiments.sets.missing import CROP, UsualPlace, centre_crop, usual_place

BLACK = np.zeros((IMAGE_HEIGHT, IMAGE_WIDTH, 3), np.uint8)


class CropFiles:
  """Crops that are read when they are asked for."""

  def __init__(self, rows: Sequence[PhotoRow], place: UsualPlace | None):
    """Takes what align_faces made of photos.

    Args:
      rows: The photos.
      place: Of `centre_crop`, for those without a face; None leaves them
        black, as are those that cannot be read.
    """
    self._rows, self._place = rows, place

  def __len__(self) -> int:
    """How many."""
    return len(self._rows)

  def __getitem__(
    self, rows: Int[np.ndarray, "B"]
  ) -> UInt8[np.ndarray, "B 112 96 3"]:
    """Reads some.

    Raises:
      UserFileNotFoundError: A crop is gone, or a photo without one.
      UserError: One is no image of 112 x 96; names it.
    """
    return np.stack([self._read(self._rows[row]) for row in rows])

  def _read(self, row: PhotoRow) -> np.ndarray:
    if not is_ok(row):
      if self._place is None:
        return BLACK
      crop = centre_crop(row.image_path, self._place)
      return BLACK if crop is None else crop
    path = row.crop_path
    if path is None:
      raise UserError(f"{row.image_id}: expected an aligned photo, got no crop")
    image = read_photo(path)
    if image.shape[:2] != (IMAGE_HEIGHT, IMAGE_WIDTH):
      raise UserError(
        f"{path}: expected {IMAGE_HEIGHT} x {IMAGE_WIDTH} pixels, got"
        f" {image.shape[0]} x {image.shape[1]}"
      )
    return image


def crops_of(
  photos: Sequence[PhotoRow], rows: Sequence[PhotoRow], missing: str
) -> CropFiles:
  """The crops of some photos out of all of a set."""
  centred = missing == CROP and not all(map(is_ok, photos))
  return CropFiles(photos, usual_place(rows) if centred else None)


def is_ok(row: PhotoRow) -> bool:
  """Whether a face was found in a photo, and aligned."""
  return row.status == "ok"
