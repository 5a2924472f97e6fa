"""The one decoder of photographs: bytes of any format to upright RGB.

OpenCV decodes what cameras and training sets are stored as, Pillow the rest.
Orientation, transparency, grey and depth are handled here and nowhere else, so
a photo is the same picture whoever reads it.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import importlib
import importlib.util
import io
import os
import re
import threading
import warnings

import cv2
from jaxtyping import UInt8
import numpy as np
from PIL import Image, ImageOps

from disentangle3d.types import UserError

MOST_MEGAPIXELS = 200
# What a photo may be whatever its name; others are not even looked at.
_BY_OPENCV = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
_BY_PILLOW = ("AVIF", "GIF", "TIFF")
_HEIF = "HEIF"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
# EXIF's orientations: what makes the stored picture upright.
_UPRIGHT: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
  2: lambda stored: stored[:, ::-1],
  3: lambda stored: stored[::-1, ::-1],
  4: lambda stored: stored[::-1],
  5: lambda stored: stored.swapaxes(0, 1),
  6: lambda stored: np.rot90(stored, -1),
  7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
  8: lambda stored: np.rot90(stored, 1),
}
_ORIENTATION = 0x0112
# PNM that OpenCV reads as it is meant: of a text it wants a last blank, and
# other maxima than these it does not scale.
_BLANK = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PLAIN_PNM = re.compile(
  rb"P4|P[56](?:" + _BLANK + rb"\d+){2}" + _BLANK + rb"(?:255|65535)\s"
)
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA
# Rows worked on at once: copies of all of a large photo take much memory.
_ROWS_AT_ONCE = 256
_PILLOWS_LIMIT = threading.RLock()


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedPhoto:
  """A photo as everything after it sees it.

  Attributes:
    image: RGB, upright, over white, `[H, W, 3]`.
    notes: What was odd about the file and how it was handled.
  """

  image: UInt8[np.ndarray, "H W 3"]
  notes: tuple[str, ...] = ()


def decode_photo(
  content: bytes,
  path: str | os.PathLike[str],
  *,
  most_megapixels: float | None = MOST_MEGAPIXELS,
) -> DecodedPhoto:
  """The picture in a photo's bytes.

  Args:
    content: BMP, JPEG, PNG, PNM, WebP, TIFF, GIF or AVIF; HEIC with the extra
      `heif`. Of an animation the first frame.
    path: Names it in errors.
    most_megapixels: A larger photo is refused before it is decoded; None takes
      any.

  Returns:
    The photo: turned as its EXIF tag says, what is transparent laid over
    white, 16 bits cut to the upper 8, grey repeated.

  Raises:
    UserError: It is no image, is cut off, or is too large; starts with `path`
      and the kind of problem.
  """
  with _without_pillows_limit(), _opened(content, path) as header:
    _check_size(header.size, path, most_megapixels)
    if _is_for_opencv(header, content):
      stored = _opencv_pixels(content, path, header)
      turn, notes = _turn(header, content)
    else:
      stored, notes = _pillow_pixels(header, path)
      turn = None
  alpha = None
  if stored.ndim == 3 and stored.shape[2] == 4:
    stored, alpha = stored[..., :3], stored[..., 3]
  if stored.ndim == 2:
    notes.append("a grey photo, read as RGB")
    stored = np.repeat(stored[..., None], 3, axis=2)
  if stored.dtype == np.uint16:
    notes.append("16 bits a channel, reduced to 8")
    stored = (stored >> 8).astype(np.uint8)
  if alpha is not None:
    notes.append(_lay_over_white(stored, alpha))
  if turn is not None:
    stored = turn(stored)
  return DecodedPhoto(np.ascontiguousarray(stored), tuple(notes))


@contextlib.contextmanager
def _without_pillows_limit() -> Iterator[None]:
  """Lifts Pillow's limit of 179 megapixels, in place of which ours stands.

  Its warnings about damaged files are left out: errors and notes say it better.
  """
  with _PILLOWS_LIMIT, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
      yield
    finally:
      Image.MAX_IMAGE_PIXELS = usual


def _opened(content: bytes, path: str | os.PathLike[str]) -> Image.Image:
  """The header; nothing is decoded yet."""
  formats = [*_BY_OPENCV, *_BY_PILLOW]
  if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
    _learn_heif(path)
    formats.append(_HEIF)
  try:
    return Image.open(io.BytesIO(content), formats=formats)
  # Pillow raises whatever damaged bytes make it raise.
  except Exception as error:
    raise UserError(f"{path}: cannot be read as an image") from error


def _learn_heif(path: str | os.PathLike[str]) -> None:
  if importlib.util.find_spec("pillow_heif") is None:
    raise UserError(
      f"{path}: cannot be read as an image: HEIC needs pillow-heif; install"
      " the extra `heif` (pip install 'disentangle3d[heif]')"
    )
  importlib.import_module("pillow_heif").register_heif_opener()


def _check_size(
  size: tuple[int, int],
  path: str | os.PathLike[str],
  most_megapixels: float | None,
) -> None:
  megapixels = size[0] * size[1] / 1e6
  if most_megapixels is not None and megapixels > most_megapixels:
    raise UserError(
      f"{path}: too many pixels: {size[0]} x {size[1]}, {megapixels:.0f}"
      f" megapixels; expected at most {most_megapixels:g}"
      " (--most_megapixels)"
    )


def _is_for_opencv(header: Image.Image, content: bytes) -> bool:
  if header.format == "PPM":
    return _PLAIN_PNM.match(content) is not None
  if header.format == "TIFF":
    return _is_deep_with_alpha(header)
  # OpenCV passes over the transparent level of a grey PNG.
  if header.mode in ("1", "L", "I", "I;16") and "transparency" in header.info:
    return False
  return header.format not in (*_BY_PILLOW, _HEIF)


def _is_deep_with_alpha(header: Image.Image) -> bool:
  """Whether a TIFF is one RGBA picture of 16 bits, which Pillow cuts to 8."""
  try:
    return (
      getattr(header, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (16,) * 4
      and header.mode == "RGBA"
      and getattr(header, "n_frames", 1) == 1
    )
  except Exception:  # whatever damaged bytes make Pillow raise
    return False


def _opencv_pixels(
  content: bytes, path: str | os.PathLike[str], header: Image.Image
) -> np.ndarray:
  """As stored: `[H, W]` or `[H, W, 3 or 4]`, RGB(A), uint8 or uint16."""
  if header.format in ("JPEG", "MPO") and _is_cut_off(content):
    raise UserError(f"{path}: cannot be read as an image: JPEG without an end")
  try:
    pixels = cv2.imdecode(
      np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED
    )
  except cv2.error as error:
    raise UserError(f"{path}: cannot be read as an image") from error
  if pixels is None:
    raise UserError(f"{path}: cannot be read as an image")
  if pixels.ndim == 3:
    three = pixels.shape[2] == 3
    to_rgb = cv2.COLOR_BGR2RGB if three else cv2.COLOR_BGRA2RGBA
    for start in range(0, len(pixels), _ROWS_AT_ONCE):
      rows = pixels[start : start + _ROWS_AT_ONCE]
      cv2.cvtColor(rows, to_rgb, dst=rows)
  # What fills up the pixels of a BMP comes as alpha.
  if header.format == "BMP" and header.mode == "RGB":
    pixels = pixels[:, :, :3]
  return pixels


def _pillow_pixels(
  image: Image.Image, path: str | os.PathLike[str]
) -> tuple[np.ndarray, list[str]]:
  """Upright pixels as `_opencv_pixels` gives them, and what to say of them."""
  try:
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (8,))
    white_is_zero = tags.get(_PHOTOMETRIC) == 0
    frames = getattr(image, "n_frames", 1)
    image = ImageOps.exif_transpose(image)
    notes = [f"the first of {frames} pictures"] if frames > 1 else []
    if max(bits) > 16:
      raise UserError(
        f"{path}: expected 8 or 16 bits a channel, got {max(bits)}"
      )
    if image.mode.startswith("I"):
      grey = np.array(image).astype(np.uint16)
      if 8 < max(bits) < 16:
        grey <<= 16 - max(bits)
      if white_is_zero:
        grey = 65535 - grey
      if "transparency" not in image.info:
        return grey, notes
      alpha = np.where(grey == image.info["transparency"], 0, 65535)
      return np.stack([grey] * 3 + [alpha.astype(np.uint16)], -1), notes
    if max(bits) == 16:
      notes.append("16 bits a channel, reduced to 8")
    if image.has_transparency_data:
      return np.array(image.convert("RGBA")), notes
    if image.mode in ("1", "L"):
      return np.array(image.convert("L")), notes
    return np.array(image.convert("RGB")), notes
  except UserError:
    raise
  except Exception as error:  # whatever damaged bytes make Pillow raise
    raise UserError(f"{path}: cannot be read as an image") from error


def _turn(
  header: Image.Image, content: bytes
) -> tuple[Callable[[np.ndarray], np.ndarray] | None, list[str]]:
  """What makes the stored picture upright (None: nothing), and notes."""
  # OpenCV turns a TIFF itself, whatever it is told.
  if header.format == "TIFF":
    return None, []
  # Pillow would decode a whole PNG to look for a tag behind the pixels.
  if header.format == "PNG" and not any(
    word in content for word in (b"eXIf", b"Raw profile type", b"adobe.xmp")
  ):
    return None, []
  try:
    tag = header.getexif().get(_ORIENTATION, 1)
  except Exception:  # whatever damaged bytes make Pillow raise
    return None, ["EXIF data that cannot be read, passed over"]
  return _UPRIGHT.get(tag), []


def _lay_over_white(image: np.ndarray, alpha: np.ndarray) -> str:
  """Makes the transparent part white, in place; says what was done."""
  most = np.iinfo(alpha.dtype).max
  if alpha.min() == most:
    return "an alpha channel, opaque"
  if alpha.max() == 0:
    return "an alpha channel that hides all, passed over"
  for start in range(0, len(image), _ROWS_AT_ONCE):
    rows = slice(start, start + _ROWS_AT_ONCE)
    share = alpha[rows, :, None] / np.float32(most)
    image[rows] = np.round(share * image[rows] + (1 - share) * 255)
  return "an alpha channel, laid over white"


def _is_cut_off(jpeg: bytes) -> bool:
  """Whether the image (not its EXIF preview) lacks the end marker.

  OpenCV fills what is missing with grey and says nothing.
  """
  at = 2
  while at + 4 <= len(jpeg):
    if jpeg[at] != 0xFF or jpeg[at + 1] == _START_OF_SCAN:
      return jpeg.find(_END_OF_IMAGE, at) < 0
    if jpeg[at + 1] == 0xFF:  # a fill byte
      at += 1
    else:
      at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
  return True
