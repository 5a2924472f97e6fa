"""Pictures made of pictures: landmarks on photos, contact sheets (Pillow).

Pictures are uint8 RGB, `[H, W, 3]`. A colour is RGB in [0, 1].
"""

from collections.abc import Sequence
import functools
import io
import pathlib

from jaxtyping import Array, Float, UInt8
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from disentangle3d.output_files import readable
from disentangle3d.types import check_array

Color = tuple[float, float, float]

LANDMARK_GREEN: Color = (0.2, 0.95, 0.35)
_SUPERSAMPLE = 2


def draw_landmarks(
  photo: UInt8[np.ndarray, "H W 3"],
  landmarks: Float[Array | np.ndarray, "L 2"],
  *,
  visibility: Float[Array | np.ndarray, "L"] | None = None,
  labels: Sequence[str] = (),
  upscale: int = 4,
  radius_px: float = 1.0,
  color: Color = LANDMARK_GREEN,
) -> UInt8[np.ndarray, "uH uW 3"]:
  """Marks landmarks: discs where they are visible, rings where not.

  Args:
    photo: `[H, W, 3]` uint8.
    landmarks: `[L, 2]`, the photo's pixels.
    visibility: 0 for landmarks that are not seen, `[L]`; None: all are.
    labels: A text beside each mark, or none at all.
    upscale: The picture's size over the photo's, a whole number.
    radius_px: Radius of the marks in the photo's pixels.
    color: Colour of the marks; they have a dark rim to stand out.

  Returns:
    `[upscale H, upscale W, 3]` uint8.

  Raises:
    ValueError: A shape differs, there are not L labels, or `upscale` is not
      positive.
    TypeError: A dtype differs.
  """
  sizes = check_array("landmarks", landmarks, "L 2")
  seen = np.ones(sizes["L"])
  if visibility is not None:
    check_array("visibility", visibility, "L", sizes=sizes)
    seen = np.asarray(visibility)
  if labels and len(labels) != sizes["L"]:
    raise ValueError(
      f"labels: expected {sizes['L']}, one for each landmark, got {len(labels)}"
    )
  factor = upscale * _SUPERSAMPLE
  canvas = Image.fromarray(enlarge(photo, factor))
  pen = ImageDraw.Draw(canvas)
  centers = (np.asarray(landmarks, np.float64) + 0.5) * factor - 0.5
  radius, rim = radius_px * factor, 0.3 * radius_px * factor
  ink = tuple(int(round(255 * part)) for part in color)
  for (x, y), visible in zip(centers, seen, strict=True):
    box = (x - radius, y - radius, x + radius, y + radius)
    outer = tuple(np.add(box, (-rim, -rim, rim, rim)))
    if visible > 0:
      pen.ellipse(outer, fill=(20, 20, 20))
      pen.ellipse(box, fill=ink)
    else:
      pen.ellipse(outer, outline=(20, 20, 20), width=round(2 * rim))
      pen.ellipse(box, outline=ink, width=max(round(1.5 * rim), 1))
  # After all marks: a number under another's disc cannot be read.
  for (x, y), label in zip(centers, labels, strict=False):
    pen.text(
      (x + 1.5 * radius, y),
      label,
      "black",
      _font(max(round(4 * radius), 8)),
      "lm",
      stroke_width=max(round(0.4 * radius), 1),
      stroke_fill="white",
    )
  return np.asarray(canvas.reduce(_SUPERSAMPLE))


def contact_sheet(
  images: Sequence[UInt8[np.ndarray, "H W 3"]],
  *,
  columns: int,
  labels: Sequence[str] = (),
  gap_px: int = 6,
  font_px: int = 15,
) -> UInt8[np.ndarray, "H W 3"]:
  """Pictures in rows on white, each in the middle of a cell, labels below.

  Args:
    images: Pictures of any sizes, at least one.
    columns: Number of columns.
    labels: A line under each picture, or none at all; lines wider than a cell
      are cut short.
    gap_px: Space between cells.
    font_px: Height of the labels.

  Returns:
    The sheet, uint8.

  Raises:
    ValueError: There is no picture, no column, or not a label each.
    TypeError: A picture is not uint8.
  """
  if not images or columns < 1:
    raise ValueError(
      "images, columns: expected at least one of each, got"
      f" {len(images)}, {columns}"
    )
  if labels and len(labels) != len(images):
    raise ValueError(
      f"labels: expected {len(images)}, one for each image, got {len(labels)}"
    )
  for i, image in enumerate(images):
    check_photo(f"images[{i}]", image)
  columns = min(columns, len(images))
  rows = -(-len(images) // columns)
  height = max(image.shape[0] for image in images)
  width = max(image.shape[1] for image in images)
  line = round(1.5 * font_px) if labels else 0
  down, right = height + line + gap_px, width + gap_px
  sheet = Image.new(
    "RGB", (columns * right + gap_px, rows * down + gap_px), "white"
  )
  pen, font = ImageDraw.Draw(sheet), _font(font_px)
  for i, image in enumerate(images):
    x, y = gap_px + (i % columns) * right, gap_px + (i // columns) * down
    corner = (
      x + (width - image.shape[1]) // 2,
      y + (height - image.shape[0]) // 2,
    )
    sheet.paste(Image.fromarray(np.ascontiguousarray(image)), corner)
    if labels:
      text = _cut_short(_one_line(labels[i]), font, width)
      pen.text(
        (x + width / 2, y + height + line / 2), text, "black", font, "mm"
      )
  return np.asarray(sheet)


def enlarge(
  photo: UInt8[np.ndarray, "H W 3"], factor: int
) -> UInt8[np.ndarray, "uH uW 3"]:
  """A photo `factor` times as large (bicubic), pixel areas kept in place."""
  check_photo("photo", photo)
  if factor < 1:
    raise ValueError(f"upscale: expected at least 1, got {factor}")
  height, width = photo.shape[:2]
  size = (width * factor, height * factor)
  large = Image.fromarray(np.ascontiguousarray(photo)).resize(
    size, Image.Resampling.BICUBIC
  )
  return np.asarray(large)


def picture_png(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
  """The picture as a PNG file."""
  check_photo("image", image)
  buffer = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(image)).save(
    buffer, "PNG", optimize=True
  )
  return buffer.getvalue()


def picture_jpeg(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
  """The picture as a JPEG file, for photographs: a fifth of the size."""
  check_photo("image", image)
  buffer = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=88)
  return buffer.getvalue()


def check_photo(name: str, photo: np.ndarray) -> None:
  """Raises unless `photo` is `[H, W, 3]` uint8."""
  check_array(name, photo, "H W 3", dtype="any")
  if photo.dtype != np.uint8:
    raise TypeError(f"{name}: expected a uint8 dtype, got {photo.dtype}")


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
  # matplotlib brings this font everywhere; it has Greek and the +- sign. Those
  # who write nothing need not wait for it.
  import matplotlib

  folder = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
  return ImageFont.truetype(str(folder / "DejaVuSans.ttf"), size)


def _one_line(text: str) -> str:
  """The text with what cannot be drawn written out: no font has a new line."""
  return "".join(
    letter if letter.isprintable() else letter.encode("unicode_escape").decode()
    for letter in readable(text)
  )


def _cut_short(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
  if font.getlength(text) <= width:
    return text
  while text and font.getlength(text + "…") > width:
    text = text[:-1]
  return text + "…"
