import io
import struct
import subprocess
import sys
import unittest
from unittest import mock
import zlib

from absl.testing import absltest, parameterized
import cv2
import numpy as np
from PIL import Image, PngImagePlugin
import pytest

from data_prep.photos.decoding import decode_photo
from tests.fixtures import REPOSITORY

# How the stored picture is got from the upright one, written out by hand: where
# the stored row 0 and column 0 are in the upright picture (EXIF 2.3, tag 274).
_STORED = {
  1: lambda a: a,  # top, left
  2: lambda a: np.fliplr(a),  # top, right
  3: lambda a: np.rot90(a, 2),  # bottom, right
  4: lambda a: np.flipud(a),  # bottom, left
  5: lambda a: np.transpose(a, (1, 0, 2)),  # left, top
  6: lambda a: np.rot90(a, 1),  # right, top
  7: lambda a: np.rot90(np.transpose(a, (1, 0, 2)), 2),  # right, bottom
  8: lambda a: np.rot90(a, -1),  # left, bottom
}


# By how many kB a process grows at most while it decodes a file.
_PEAK = """
import pathlib, resource, sys
from data_prep.photos.decoding import decode_photo
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
path = sys.argv[1]
print(decode_photo(pathlib.Path(path).read_bytes(), path).image.shape)
print(peak() - before)
"""


def _picture(alpha: bool, bits: int) -> np.ndarray:
  """Noise of 24 x 16 px; its alpha goes from nothing to all."""
  rng = np.random.default_rng(0)
  picture = rng.integers(0, 1 << bits, (24, 16, 4 if alpha else 3))
  if alpha:
    picture[..., 3] = np.linspace(0, (1 << bits) - 1, 24)[:, None]
  return picture.astype(np.uint8 if bits == 8 else np.uint16)


def _seen(picture: np.ndarray) -> np.ndarray:
  """What a decoder should give for it, by the definition of alpha."""
  bits = 8 * picture.dtype.itemsize
  color = (picture[..., :3] >> (bits - 8)).astype(np.float64)
  if picture.shape[2] == 3:
    return color
  share = picture[..., 3:] / ((1 << bits) - 1)
  return share * color + (1 - share) * 255


def _chunk(kind: bytes, data: bytes) -> bytes:
  check = struct.pack(">I", zlib.crc32(kind + data))
  return struct.pack(">I", len(data)) + kind + data + check


def _png(picture: np.ndarray, *, color: int, extra: bytes = b"") -> bytes:
  """A PNG by its definition, `extra` chunks before the pixels."""
  height, width = picture.shape[:2]
  bits = 8 * picture.dtype.itemsize
  rows = b"".join(
    b"\0" + row.astype(picture.dtype.newbyteorder(">")).tobytes()
    for row in picture
  )
  head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
  return (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", head)
    + extra
    + _chunk(b"IDAT", zlib.compress(rows))
    + _chunk(b"IEND", b"")
  )


# What Adobe's programs write: "turn by a quarter to be upright".
_XMP = (
  b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
  b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
  b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
  b' tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def _exif(orientation: int) -> bytes:
  """The one tag, big-endian, by its definition."""
  entry = struct.pack(">HHIHH", 274, 3, 1, orientation, 0)
  return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)


def _saved(picture: np.ndarray, kind: str, **options) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(picture)).save(buffer, kind, **options)
  return buffer.getvalue()


def _tiff(picture: np.ndarray, orientation: int = 1) -> bytes:
  """An uncompressed TIFF by its definition, big-endian."""
  height, width, channels = picture.shape
  bits = 8 * picture.dtype.itemsize
  pixels = picture.astype(picture.dtype.newbyteorder(">")).tobytes()
  count = 11 if channels == 4 else 10
  after = 8 + 2 + 12 * count + 4
  tags = [
    (256, 3, 1, width << 16),
    (257, 3, 1, height << 16),
    (258, 3, channels, after),
    (259, 3, 1, 1 << 16),
    (262, 3, 1, 2 << 16),
    (273, 4, 1, after + 2 * channels),
    (274, 3, 1, orientation << 16),
    (277, 3, 1, channels << 16),
    (278, 3, 1, height << 16),
    (279, 4, 1, len(pixels)),
    (338, 3, 1, 2 << 16),  # alpha, not multiplied in
  ][:count]
  return (
    b"MM\0*"
    + struct.pack(">IH", 8, count)
    + b"".join(struct.pack(">HHII", *tag) for tag in tags)
    + struct.pack(">I", 0)
    + struct.pack(f">{channels}H", *[bits] * channels)
    + pixels
  )


class OrientationTest(parameterized.TestCase):
  @parameterized.product(
    orientation=[*range(1, 9)], alpha=[False, True], bits=[8, 16]
  )
  def test_a_png_or_tiff_is_as_the_upright_picture(
    self, orientation, alpha, bits
  ):
    upright = _picture(alpha, bits)
    stored = _STORED[orientation](upright)
    tag = _chunk(b"eXIf", _exif(orientation))
    color = 6 if alpha else 2
    plain = decode_photo(_png(upright, color=color), "a.png").image
    np.testing.assert_allclose(plain, _seen(upright), atol=0.5001)
    turned = decode_photo(_png(stored, color=color, extra=tag), "a.png").image
    np.testing.assert_array_equal(turned, plain)
    np.testing.assert_array_equal(
      decode_photo(_tiff(upright), "a.tif").image, plain
    )
    turned = decode_photo(_tiff(stored, orientation), "a.tif").image
    np.testing.assert_array_equal(turned, plain)

  @parameterized.product(
    stored_as=["JPEG", "WEBP", "AVIF", "WEBP alpha", "AVIF alpha"],
    orientation=[*range(1, 9)],
  )
  def test_what_is_packed_with_loss_is_turned_too(self, stored_as, orientation):
    kind, _, alpha = stored_as.partition(" ")
    upright = np.zeros((64, 32, 4 if alpha else 3), np.uint8)
    upright[:32, :16], upright[:32, 16:] = 255, 128  # bright, grey, dark
    upright[..., 3:] = 255
    if alpha:
      upright[60:] = 0
    stored = _STORED[orientation](upright)
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95}
    content = _saved(stored, kind, exif=exif, **options)
    image = decode_photo(content, "a").image
    np.testing.assert_allclose(image, _seen(upright), atol=6)

  @parameterized.parameters("JPEG", "PNG", "TIFF", "WEBP", "AVIF")
  def test_an_orientation_in_xmp_alone_counts_in_every_format(self, kind):
    upright = np.zeros((64, 32, 3), np.uint8)
    upright[:32, :16], upright[:32, 16:] = 255, 128  # bright, grey, dark
    options = {"xmp": _XMP}
    if kind == "PNG":
      options = {"pnginfo": PngImagePlugin.PngInfo()}
      options["pnginfo"].add_itxt("XML:com.adobe.xmp", _XMP.decode())
    elif kind == "TIFF":
      options = {"tiffinfo": {700: _XMP}}
    content = _saved(_STORED[6](upright), kind, **options)
    np.testing.assert_allclose(
      decode_photo(content, "a").image, upright, atol=9
    )

  def test_a_tag_behind_the_pixels_counts_and_a_broken_one_is_told_of(self):
    upright = _picture(False, 8)
    stored = _STORED[6](upright)
    content = _png(stored, color=2)
    end = content.index(b"IEND") - 4
    late = content[:end] + _chunk(b"eXIf", _exif(6)) + content[end:]
    np.testing.assert_array_equal(decode_photo(late, "a").image, upright)
    broken = _png(stored, color=2, extra=_chunk(b"eXIf", b"MM\0*\xff"))
    photo = decode_photo(broken, "a")
    np.testing.assert_array_equal(photo.image, stored)
    self.assertLessEqual(
      set(photo.notes), {"EXIF data that cannot be read, passed over"}
    )


class FormatTest(parameterized.TestCase):
  def test_grey_with_alpha_and_with_a_transparent_level(self):
    picture = _picture(True, 16)[..., [0, 3]]
    seen = _seen(picture[..., [0, 0, 0, 1]])
    photo = decode_photo(_png(picture, color=4), "a")
    np.testing.assert_allclose(photo.image, seen, atol=0.5001)
    for bits in (8, 16):
      grey = _picture(False, bits)[..., 0]
      level = struct.pack(">H", int(grey[3, 5]))
      content = _png(grey, color=0, extra=_chunk(b"tRNS", level))
      photo = decode_photo(content, "a")
      expected = (grey >> (bits - 8)).astype(np.uint8)
      expected = np.where(grey == grey[3, 5], 255, expected)
      np.testing.assert_array_equal(photo.image[..., 1], expected)
      self.assertIn("an alpha channel, laid over white", photo.notes)

  def test_what_fills_up_the_pixels_of_a_bmp_is_no_alpha(self):
    picture = _picture(False, 8)
    height, width, _ = picture.shape
    pixels = np.insert(picture[::-1, :, ::-1], 3, 7, axis=2).tobytes()
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    for kind, more in ((0, b""), (3, masks)):
      start = 14 + 40 + len(more)
      content = (
        b"BM"
        + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 32, kind, *[0] * 5)
        + more
        + pixels
      )
      image = decode_photo(content, "a.bmp").image
      np.testing.assert_array_equal(image, picture)

  def test_an_alpha_that_hides_all_is_passed_over(self):
    picture = _picture(True, 8)
    picture[..., 3] = 0
    photo = decode_photo(_png(picture, color=6), "a.png")
    np.testing.assert_array_equal(photo.image, picture[..., :3])
    self.assertIn("an alpha channel that hides all, passed over", photo.notes)

  def test_16_bits_in_grey_tiff(self):
    grey = np.arange(0, 65536, 1024).reshape(8, 8).astype(np.uint16)
    photo = decode_photo(cv2.imencode(".tif", grey)[1].tobytes(), "a.tif")
    np.testing.assert_array_equal(photo.image[..., 2], grey >> 8)
    self.assertIn("16 bits a channel, reduced to 8", photo.notes)

  @parameterized.named_parameters(
    ("binary", b"P5 2 2 15 \0\7\x0e\x0f", [0, 119, 238, 255]),
    ("text", b"P2 2 2 15 0 7 14 15", [0, 119, 238, 255]),
    ("deep", b"P5 #x\n 2 2\n1000\n\0\0\0\xfa\1\xf4\3\xe8", [0, 64, 128, 255]),
    ("bits", b"P1 2 2 1 0 0 1", [0, 255, 255, 0]),
  )
  def test_pnm_of_any_maximum_goes_from_black_to_white(self, content, expected):
    grey = decode_photo(content, "a.pgm").image[..., 0].ravel()
    self.assertEqual(grey.tolist(), expected)

  def test_of_an_animation_the_first_frame_is_taken(self):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for kind in ("GIF", "TIFF"):
      buffer = io.BytesIO()
      frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
      photo = decode_photo(buffer.getvalue(), "a")
      self.assertEqual(photo.image[4, 4].tolist(), [255, 0, 0])
      self.assertEqual(photo.notes, ("the first of 2 pictures",))

  def test_deeper_than_16_bits_is_refused(self):
    content = cv2.imencode(".tif", np.ones((4, 4), np.float32))[1].tobytes()
    with self.assertRaisesRegex(ValueError, "a.tif: expected 8 or 16 bits"):
      decode_photo(content, "a.tif")

  def test_heic_is_read_by_its_extra_or_told_of(self):
    content = b"\0\0\0\x18ftypheic" + bytes(40)
    with (
      mock.patch("importlib.util.find_spec", return_value=None),
      self.assertRaisesRegex(ValueError, "a.heic: .* HEIC .* extra `heif`"),
    ):
      decode_photo(content, "a.heic")
    try:
      import pillow_heif
    except ModuleNotFoundError as error:
      raise unittest.SkipTest("the extra `heif` is not installed") from error
    halves = np.zeros((64, 32, 3), np.uint8)
    halves[:32] = 255
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(halves)).save(buffer, quality=95)
    image = decode_photo(buffer.getvalue(), "a.heic").image
    np.testing.assert_allclose(image, halves, atol=12)
    with self.assertRaisesRegex(ValueError, "a.heic: cannot be read as an im"):
      decode_photo(content, "a.heic")

  @parameterized.parameters("GIF", "TIFF", "AVIF", "PNG", "WEBP", "BMP")
  def test_what_is_cut_off_is_refused(self, kind):
    content = _saved(_picture(False, 8), kind)
    for share in (0.2, 0.6, 0.9):
      with self.assertRaisesRegex(ValueError, "^a: cannot be read as an image"):
        decode_photo(content[: int(share * len(content))], "a")


class SizeTest(absltest.TestCase):
  def test_the_limit_is_the_callers(self):
    content = _saved(np.zeros((100, 100, 3), np.uint8), "PNG")
    for limit in (0.01, None):
      self.assertEqual(
        decode_photo(content, "a", most_megapixels=limit).image.shape,
        (100, 100, 3),
      )
    with self.assertRaisesRegex(
      ValueError, "^a: too many pixels: 100 x 100, .*most 0.009 .--most_megap"
    ):
      decode_photo(content, "a", most_megapixels=0.009)

  @pytest.mark.slow
  def test_48_megapixels_take_three_times_their_bytes(self):
    path = self.create_tempfile("large.jpg").full_path
    exif = Image.Exif()
    exif[274] = 6
    Image.effect_noise((800, 600), 60).resize((8000, 6000)).convert("RGB").save(
      path, exif=exif
    )
    run = subprocess.run(
      [sys.executable, "-c", _PEAK, path],
      cwd=REPOSITORY,
      capture_output=True,
      text=True,
      check=True,
    )
    shape, grown = run.stdout.splitlines()
    self.assertEqual(shape, "(8000, 6000, 3)")
    # The picture as stored, turned, and the file.
    self.assertLess(int(grown) * 1024, 3 * 8000 * 6000 * 3)

  def test_pillows_own_limit_is_left_as_it_was(self):
    before = Image.MAX_IMAGE_PIXELS
    with mock.patch.object(Image, "MAX_IMAGE_PIXELS", 50):
      decode_photo(_saved(np.zeros((10, 30, 3), np.uint8), "PNG"), "a")
      self.assertEqual(Image.MAX_IMAGE_PIXELS, 50)
    self.assertEqual(Image.MAX_IMAGE_PIXELS, before)


def _grey_tiff(bits: int, data: bytes, photometric: int) -> bytes:
  """A baseline TIFF of 8 x 8 px in one strip."""
  fields = {256: 8, 257: 8, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 8}
  offset = 8 + 2 + 12 * (len(fields) + 2) + 4
  fields |= {273: offset, 279: len(data)}
  head = b"II*\0" + struct.pack("<IH", 8, len(fields))
  entries = [
    struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, fields[tag])
    for tag in sorted(fields)
  ]
  return head + b"".join(entries) + bytes(4) + data


class GreyTiffTest(parameterized.TestCase):
  """A grey of 200 of 255, in what a TIFF may hold."""

  @parameterized.named_parameters(
    ("8_bits", 8, bytes([200] * 64), 1),
    ("8_bits_white_is_0", 8, bytes([55] * 64), 0),
    ("16_bits", 16, struct.pack("<64H", *[200 * 257] * 64), 1),
    ("16_bits_white_is_0", 16, struct.pack("<64H", *[55 * 257] * 64), 0),
    ("12_bits", 12, bytes([0xC8, 0x8C, 0x88] * 32), 1),
  )
  def test_it_is_as_bright_as_it_says(self, bits, data, photometric):
    image = decode_photo(_grey_tiff(bits, data, photometric), "a.tif").image
    np.testing.assert_array_equal(image, np.full((8, 8, 3), 200))


if __name__ == "__main__":
  absltest.main()
