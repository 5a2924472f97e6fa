"""MTCNN on photos of any sizes, a batch at a time, on the device.

The host brings photos, at every size, to one of few canvases, so that few
programs are compiled whatever comes; what lies beside a photo is never looked
at, and its faces do not depend on the batch. Photos go through in
order of their size.
"""

from collections.abc import Sequence
import concurrent.futures
import copy
import dataclasses
import functools
from typing import Any, cast

import jax
from jaxtyping import Float, UInt8
import numpy as np

from data_prep.faces.mtcnn.cascade import detect
from data_prep.faces.mtcnn.networks import PNET_WINDOW, prepare_weights
from data_prep.faces.mtcnn.pyramid import (
  PhotoCanvas,
  canvases,
  choose_canvas,
  level_sizes,
  make_mosaics,
)
from data_prep.faces.mtcnn.weights import load_weights
from data_prep.photos.resizing import points_before, resize_by, resized
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.types import UserError

# The longest side in which faces are looked for, and how many programs serve
# photos up to it.
DETECTION_SIDE = 640
NUM_CANVASES = 3
# Pixels in a batch: memory goes with it, about 1 kB each.
_BATCH_PIXELS = 1 << 20
_MOST_PHOTOS = 64


@dataclasses.dataclass(frozen=True)
class Settings:
  """How MTCNN looks for faces; the defaults are the paper's.

  Attributes:
    min_size_px: The smallest face it finds.
    factor: Of the pyramid, between two levels; the package's is 0.709.
    thresholds: The least probability after each of the three networks.
  """

  min_size_px: float = 20.0
  factor: float = 0.85
  thresholds: tuple[float, float, float] = (0.6, 0.7, 0.9)


@dataclasses.dataclass(frozen=True, eq=False)
class Faces:
  """The faces of one photo, the most certain first, in photo pixels.

  Attributes:
    boxes: x0, y0, x1, y1, inside the photo, `[F, 4]`.
    points: Eyes, nose tip, mouth corners, `[F, 5, 2]`.
    scores: Probability of a face, `[F]`.
  """

  boxes: Float[np.ndarray, "F 4"]
  points: Float[np.ndarray, "F 5 2"]
  scores: Float[np.ndarray, "F"]


class Detector:
  """MTCNN with the package's weights; compiles at most `NUM_CANVASES` programs.

  Attributes:
    settings: Of the cascade.
    canvases: What photos are brought to, the smallest first.
  """

  def __init__(
    self,
    settings: Settings = Settings(),
    *,
    side: int = DETECTION_SIDE,
    most_photos: int = _MOST_PHOTOS,
  ) -> None:
    """Loads the weights.

    Args:
      settings: Of the cascade.
      side: Photos with a longer side are shrunk to it.
      most_photos: That go through together. A batch is filled up to a canvas'
        number, so where photos come one by one it should be 1.

    Raises:
      UserError: A setting is out of its range, or the weights are others.
      UserModuleNotFoundError: The extra `detect` is not installed.
    """
    _check_settings(settings)
    self.settings = settings
    self._side = side
    self._most_photos = most_photos
    self.canvases = canvases(
      side,
      NUM_CANVASES,
      min_size_px=settings.min_size_px,
      factor=settings.factor,
    )
    self._weights = jax.device_put(prepare_weights(load_weights()))
    # Its own, so that they can be counted.
    self._programs = jax.jit(
      functools.partial(detect), compiler_options=cpu_compiler_options()
    )

  def with_thresholds(
    self, thresholds: tuple[float, float, float]
  ) -> "Detector":
    """One of other thresholds, which shares the programs."""
    other = copy.copy(self)
    other.settings = dataclasses.replace(self.settings, thresholds=thresholds)
    _check_settings(other.settings)
    return other

  def detect(self, photos: Sequence[UInt8[np.ndarray, "H W 3"]]) -> list[Faces]:
    """Finds the faces of any number of photos of any sizes.

    Args:
      photos: RGB, `[H, W, 3]` each.

    Returns:
      As many `Faces`, in the same order.
    """
    found: list[Faces] = [_NO_FACES] * len(photos)
    by_canvas: dict[int, list[int]] = {}
    for place, photo in enumerate(photos):
      height, width = photo.shape[:2]
      height, width = resized(height, width, self._factor(photo))
      sizes = self._levels(height, width)
      number = choose_canvas(self.canvases, sizes, height * width)
      by_canvas.setdefault(number, []).append(place)
    batches = [
      (self.canvases[number], places[start : start + self._batch_size(number)])
      for number, places in by_canvas.items()
      for start in range(0, len(places), self._batch_size(number))
    ]

    def detect_batch(batch: tuple[PhotoCanvas, list[int]]) -> None:
      canvas, places = batch
      results = self._detect_batch([photos[place] for place in places], canvas)
      for place, faces in zip(places, results, strict=True):
        found[place] = faces

    # Two at a time: where one has nothing to do in parallel, the other does.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
      list(pool.map(detect_batch, batches))
    return found

  def num_programs(self) -> int:
    """How many were compiled."""
    return cast(Any, self._programs)._cache_size()

  def _levels(self, height: int, width: int) -> list[tuple[int, int]]:
    return level_sizes(
      height,
      width,
      min_size_px=self.settings.min_size_px,
      factor=self.settings.factor,
    )

  def _factor(self, photo: np.ndarray) -> float:
    return min(1.0, self._side / max(photo.shape[:2]))

  def _detect_batch(
    self, photos: Sequence[np.ndarray], canvas: PhotoCanvas
  ) -> list[Faces]:
    count = self._batch_size(self.canvases.index(canvas))
    shrunk = [resize_by(photo, self._factor(photo)) for photo in photos]
    images = np.zeros((count, canvas.pixels, 3), np.uint8)
    sizes = np.ones((count, 2), np.int32)
    for row, (small, _) in enumerate(shrunk):
      sizes[row] = small.shape[:2]
      images[row, : small.shape[0] * small.shape[1]] = small.reshape(-1, 3)
    mosaics = make_mosaics(
      [small for small, _ in shrunk],
      [self._levels(*small.shape[:2]) for small, _ in shrunk],
      canvas,
      count=count,
    )
    boxes, points, scores = jax.device_get(
      self._programs(
        self._weights,
        images,
        sizes,
        **vars(mosaics),
        scales=_level_scales(mosaics.ends.shape[1], self.settings),
        thresholds=np.asarray(self.settings.thresholds, np.float32),
      )
    )
    return [
      _faces_of(boxes[row], points[row], scores[row], photo.shape, factors)
      for row, (photo, (_, factors)) in enumerate(
        zip(photos, shrunk, strict=True)
      )
    ]

  def _batch_size(self, number: int) -> int:
    return min(self._most_photos, batch_size(self.canvases[number]))


def batch_size(canvas: PhotoCanvas) -> int:
  """How many photos on a canvas go through together."""
  return max(1, min(_MOST_PHOTOS, _BATCH_PIXELS // canvas.pixels))


def _level_scales(count: int, settings: Settings) -> Float[np.ndarray, "L"]:
  """How much photos are shrunk for each level of their pyramid."""
  first = PNET_WINDOW / settings.min_size_px
  return (first * settings.factor ** np.arange(count)).astype(np.float32)


_NO_FACES = Faces(
  boxes=np.zeros((0, 4), np.float32),
  points=np.zeros((0, 5, 2), np.float32),
  scores=np.zeros(0, np.float32),
)


def _faces_of(
  boxes: np.ndarray,
  points: np.ndarray,
  scores: np.ndarray,
  shape: tuple[int, ...],
  factors: np.ndarray,
) -> Faces:
  """Those there are, in the pixels of the photo before it was resized."""
  kept = scores > 0
  corners = points_before(boxes[kept].reshape(-1, 2), factors)
  last = np.array([shape[1], shape[0]] * 2, np.float32) - 1
  where = points_before(points[kept].reshape(-1, 2), factors)
  return Faces(
    boxes=np.clip(corners.reshape(-1, 4), 0, last).astype(np.float32),
    points=where.reshape(-1, 5, 2).astype(np.float32),
    scores=scores[kept],
  )


def _check_settings(settings: Settings) -> None:
  if not settings.min_size_px >= PNET_WINDOW:
    raise UserError(
      f"min_size: expected at least {PNET_WINDOW} pixels, got"
      f" {settings.min_size_px}"
    )
  if not 0 < settings.factor < 1:
    raise UserError(
      f"factor: expected a number between 0 and 1, got {settings.factor}"
    )
  if len(settings.thresholds) != 3 or not all(
    0 < threshold < 1 for threshold in settings.thresholds
  ):
    raise UserError(
      "thresholds: expected three numbers between 0 and 1, got"
      f" {settings.thresholds}"
    )
