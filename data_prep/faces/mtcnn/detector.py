"""MTCNN on photos of any sizes, a batch at a time, on the device.

Photos are padded to one of few sizes (four steps an octave), so that few
programs are compiled; what is padded is never looked at, and a photo's faces
do not depend on the batch. Photos go through in order of their size.
"""

from collections.abc import Sequence
import concurrent.futures
import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from data_prep.faces.mtcnn import boxes as box_steps
from data_prep.faces.mtcnn.networks import (
  ONET_SIZE,
  PNET_STRIDE,
  PNET_WINDOW,
  RNET_SIZE,
  onet,
  pnet,
  prepare_weights,
  rnet,
)
from data_prep.faces.mtcnn.patches import crop_patches, map_present, pack_pixels
from data_prep.faces.mtcnn.pyramid import pyramid_scales, shrink, shrink_on_host
from data_prep.faces.mtcnn.weights import load_weights
from disentangle3d.network.compilation import cpu_compiler_options
from disentangle3d.types import UserError

# The package's: how much boxes of one level, of all levels, and after each
# network may cover each other.
_PNET_LEVEL_OVERLAP = 0.5
_OVERLAP = 0.7
# The best so many boxes of a photo enter the first suppression and leave the
# second network; a photo of a crowd has more.
_PROPOSALS = 1024
_REFINED = 256
_RNET_AT_ONCE = 64
_ONET_AT_ONCE = 16
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
  """MTCNN with the package's weights; keeps one program a photo size."""

  def __init__(
    self,
    settings: Settings = Settings(),
    *,
    most_photos: int = _MOST_PHOTOS,
    shrinks_on_host: bool | None = None,
  ) -> None:
    """Loads the weights.

    Args:
      settings: Of the cascade.
      most_photos: That go through together. A batch is filled up to a size's
        number, so where photos come one by one it should be 1.
      shrinks_on_host: Whether the host makes the pyramid, and not the device;
        None: where they are the same.

    Raises:
      UserError: A setting is out of its range, or the weights are others.
      UserModuleNotFoundError: The extra `detect` is not installed.
    """
    _check_settings(settings)
    self.settings = settings
    self._most_photos = most_photos
    if shrinks_on_host is None:
      shrinks_on_host = jax.default_backend() == "cpu"
    self._shrinks_on_host = shrinks_on_host
    self._weights = jax.device_put(prepare_weights(load_weights()))
    self._programs = jax.jit(
      functools.partial(_detect, settings=settings),
      compiler_options=cpu_compiler_options(),
    )

  def detect(self, photos: Sequence[UInt8[np.ndarray, "H W 3"]]) -> list[Faces]:
    """Finds the faces of any number of photos of any sizes.

    Args:
      photos: RGB, `[H, W, 3]` each.

    Returns:
      As many `Faces`, in the same order.
    """
    found: list[Faces] = [_NO_FACES] * len(photos)
    by_size: dict[tuple[int, int], list[int]] = {}
    for place, photo in enumerate(photos):
      size = (padded_size(photo.shape[0]), padded_size(photo.shape[1]))
      by_size.setdefault(size, []).append(place)
    batches = [
      (size, places[start : start + self._batch_size(size)])
      for size, places in by_size.items()
      for start in range(0, len(places), self._batch_size(size))
    ]

    def detect_batch(batch: tuple[tuple[int, int], list[int]]) -> None:
      size, places = batch
      results = self._detect_batch([photos[place] for place in places], size)
      for place, faces in zip(places, results, strict=True):
        found[place] = faces

    # Two at a time: where one has nothing to do in parallel, the other does.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
      list(pool.map(detect_batch, batches))
    return found

  def _detect_batch(
    self, photos: Sequence[np.ndarray], size: tuple[int, int]
  ) -> list[Faces]:
    count = self._batch_size(size)
    images = np.zeros((count, *size, 3), np.uint8)
    sizes = np.ones((count, 2), np.int32)
    for row, photo in enumerate(photos):
      images[row, : photo.shape[0], : photo.shape[1]] = photo
      sizes[row] = photo.shape[:2]
    levels = _level_sizes(sizes, size, self.settings)
    pyramid = None
    if self._shrinks_on_host:
      shapes = _level_shapes(size, self.settings)
      pyramid = shrink_on_host(photos, levels, shapes)
    boxes, points, scores = jax.device_get(
      self._programs(self._weights, images, sizes, levels, pyramid)
    )
    return [
      _faces_of(boxes[row], points[row], scores[row], photo.shape)
      for row, photo in enumerate(photos)
    ]

  def _batch_size(self, size: tuple[int, int]) -> int:
    return min(self._most_photos, batch_size(size))


def padded_size(side: int) -> int:
  """The next larger of 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, ..."""
  step = 1 << max(2, (side - 1).bit_length() - 3)
  return max(16, -(-side // step) * step)


def batch_size(size: tuple[int, int]) -> int:
  """How many photos of a padded size go through together."""
  return max(1, min(_MOST_PHOTOS, _BATCH_PIXELS // (size[0] * size[1])))


def _level_sizes(
  sizes: Int[np.ndarray, "B 2"], padded: tuple[int, int], settings: Settings
) -> Int[np.ndarray, "B N 2"]:
  """Each photo's height and width at each level; 0 where it has no such.

  Args:
    sizes: Of the photos, `[B, 2]`.
    padded: The size they are padded to, which decides N.
    settings: The pyramid's.
  """
  scales = _scales(min(padded), settings)
  levels = np.zeros((len(sizes), len(scales), 2), np.int32)
  for row, size in enumerate(sizes):
    for level, scale in enumerate(_scales(min(size), settings)):
      levels[row, level] = (size * scale).astype(np.int32)
  return levels


def _level_shapes(
  padded: tuple[int, int], settings: Settings
) -> list[tuple[int, int]]:
  """Height and width of each level of photos padded to a size."""
  return [
    (int(padded[0] * scale), int(padded[1] * scale))
    for scale in _scales(min(padded), settings)
  ]


def _scales(shorter: int, settings: Settings) -> list[float]:
  return pyramid_scales(
    int(shorter), min_size_px=settings.min_size_px, factor=settings.factor
  )


def _detect(
  weights: dict[str, dict[str, Array]],
  images: UInt8[Array, "B H W 3"],
  sizes: Int[Array, "B 2"],
  levels: Int[Array, "B N 2"],
  pyramid: list[Float[Array, "B h w 3"]] | None,
  *,
  settings: Settings,
) -> tuple[Array, Array, Array]:
  """Boxes `[B, R, 4]`, points `[B, R, 5, 2]`, scores `[B, R]`, 0 if none."""
  _, height, width, _ = images.shape
  shapes = _level_shapes((height, width), settings)
  if pyramid is None:
    pyramid = shrink(images, sizes, levels, shapes) if shapes else []
  boxes, present = _propose(
    weights["pnet"],
    pyramid,
    levels,
    _scales(min(images.shape[1:3]), settings),
    settings,
  )
  pixels = pack_pixels(images)

  def judge_rnet(owner: Array, boxes: Array) -> Array:
    patches = crop_patches(pixels, sizes, owner, boxes, RNET_SIZE)
    score, offsets = rnet(weights["rnet"], patches)
    return jnp.concatenate([score[:, None], offsets], -1)

  judged = map_present(
    judge_rnet, boxes, present, columns=5, at_once=_RNET_AT_ONCE
  )
  scores = jnp.where(present, judged[..., 0], 0.0)
  boxes = box_steps.refine(boxes, judged[..., 1:])
  scores, boxes = _best(scores, _REFINED, boxes)
  present = box_steps.suppress(
    boxes, scores > settings.thresholds[1], most=_OVERLAP
  )
  boxes = box_steps.square(boxes)

  def judge_onet(owner: Array, boxes: Array) -> Array:
    patches = crop_patches(pixels, sizes, owner, boxes, ONET_SIZE)
    score, offsets, points = onet(weights["onet"], patches)
    return jnp.concatenate([score[:, None], offsets, points], -1)

  judged = map_present(
    judge_onet, boxes, present, columns=15, at_once=_ONET_AT_ONCE
  )
  points = box_steps.points_in_photo(boxes, judged[..., 5:])
  boxes = box_steps.refine(boxes, judged[..., 1:5])
  scores, boxes, points = _best(
    jnp.where(present, judged[..., 0], 0.0), _REFINED, boxes, points
  )
  present = box_steps.suppress(
    boxes, scores > settings.thresholds[2], most=_OVERLAP, over="smaller"
  )
  return boxes, points, jnp.where(present, scores, 0.0)


def _propose(
  weights: dict[str, Array],
  pyramid: list[Array],
  levels: Array,
  scales: list[float],
  settings: Settings,
) -> tuple[Array, Array]:
  """Squares where a face may be, `[B, P, 4]`, and which there are."""
  count = len(levels)
  scores, offsets, windows, scale_of, level_of = [], [], [], [], []
  for number, (small, factor) in enumerate(zip(pyramid, scales, strict=True)):
    score, offset = pnet(weights, small, levels[:, number])
    scores.append(score.reshape(count, -1))
    offsets.append(offset.reshape(count, -1, 4))
    rows, columns = np.mgrid[: score.shape[1], : score.shape[2]]
    windows.append(np.stack([columns, rows], -1).reshape(-1, 2))
    scale_of.append(np.full(rows.size, factor, np.float32))
    level_of.append(np.full(rows.size, number, np.int32))
  if not scores:
    return jnp.zeros((count, 1, 4), jnp.float32), jnp.zeros((count, 1), bool)
  corners = PNET_STRIDE * np.concatenate(windows).astype(np.float32)
  score, offset, corner, scale, level = _best(
    jnp.concatenate(scores, 1),
    min(_PROPOSALS, len(corners)),
    jnp.concatenate(offsets, 1),
    *(
      jnp.broadcast_to(jnp.asarray(x)[None], (count, *x.shape))
      for x in (corners, np.concatenate(scale_of), np.concatenate(level_of))
    ),
  )
  window = jnp.concatenate([corner + 1, corner + PNET_WINDOW], -1)
  boxes = (window + offset * (PNET_WINDOW - 1)) / scale[..., None]
  present = score > settings.thresholds[0]
  present = box_steps.suppress(
    boxes, present, most=_PNET_LEVEL_OVERLAP, group=level
  )
  present = box_steps.suppress(boxes, present, most=_OVERLAP)
  return box_steps.square(boxes), present


def _best(scores: Array, count: int, *arrays: Array) -> tuple[Array, ...]:
  """The best of each photo in order: scores `[B, count]` and what is theirs.

  Certain proposals have exactly 1.0, and which of them suppresses the others
  decides the box: the last comes first, as the package sorts them.
  """
  last = scores.shape[1] - 1
  scores, places = jax.lax.top_k(scores[:, ::-1], min(count, last + 1))
  places = last - places
  return scores, *(
    jnp.take_along_axis(
      array, places.reshape(*places.shape, *(1,) * (array.ndim - 2)), axis=1
    )
    for array in arrays
  )


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
) -> Faces:
  kept = scores > 0
  last = np.array([shape[1], shape[0]] * 2, np.float32) - 1
  return Faces(
    boxes=np.clip(boxes[kept], 0, last),
    points=points[kept],
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
