from absl.testing import absltest, parameterized
import cv2
import numpy as np

from data_prep.datasets.fingerprints import (
  fingerprint,
  hash_distance,
  nearest_copies,
)
from tests.data_prep import orl_faces
from tests.data_prep.pictures import smooth_picture


def _arrays(pictures):
  found = [fingerprint(picture) for picture in pictures]
  return (
    np.array([f.hash for f in found], np.uint64),
    np.stack([f.thumbnail for f in found]),
  )


def _jpeg(picture, quality):
  _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
  return cv2.imdecode(data, cv2.IMREAD_COLOR)


class FingerprintTest(absltest.TestCase):
  def test_the_bits_say_where_it_gets_brighter(self):
    columns = np.repeat(np.arange(9) * 20, 8)
    ramp = np.broadcast_to(columns[None, :, None], (64, 72, 3))
    up = fingerprint(ramp.astype(np.uint8))
    down = fingerprint(np.ascontiguousarray(ramp[:, ::-1]).astype(np.uint8))
    self.assertEqual(up.hash, 2**64 - 1)
    self.assertEqual(down.hash, 0)
    self.assertEqual(hash_distance(up.hash, down.hash), 64)
    self.assertAlmostEqual(up.brightness, 80.0, places=4)
    self.assertAlmostEqual(up.contrast, float(ramp.std()), places=4)

  def test_the_digest_is_of_all_pixels_and_the_shape(self):
    picture = smooth_picture(0)
    other = picture.copy()
    other[111, 95, 2] ^= 1
    digests = {
      fingerprint(image).digest
      for image in (picture, picture.copy(), other, picture.reshape(96, 112, 3))
    }
    self.assertLen(digests, 3)


class NearestCopiesTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 4, 9)
  def test_no_pair_within_the_bits_is_missed(self, max_bits):
    rng = np.random.default_rng(max_bits)
    first = rng.integers(0, 2**64, 300, np.uint64)
    # Neighbours by up to 11 flipped bits, and strangers.
    second = first[rng.integers(0, 300, 400)]
    for row in range(300):
      for bit in rng.choice(64, rng.integers(0, 12), replace=False):
        second[row] ^= np.uint64(1) << np.uint64(bit)
    second[300:] = rng.integers(0, 2**64, 100, np.uint64)
    same = rng.integers(0, 256, 224, np.uint8)
    partner, correlation = nearest_copies(
      first,
      np.tile(same, (300, 1)),
      second,
      np.tile(same, (400, 1)),
      max_bits=max_bits,
      min_correlation=0.9,
    )
    apart = np.bitwise_count(first[:, None] ^ second)
    expected = apart.min(0) <= max_bits
    self.assertGreater(expected.sum(), 10)
    np.testing.assert_array_equal(partner >= 0, expected)
    rows = np.flatnonzero(expected)
    self.assertLessEqual(apart[partner[rows], rows].max(), max_bits)
    np.testing.assert_allclose(correlation[rows], 1.0, atol=1e-5)

  def test_the_best_of_several_is_named_and_the_unlike_are_not(self):
    picture = smooth_picture(3)
    thumbnail = fingerprint(picture).thumbnail
    worse = np.clip(
      thumbnail.astype(int) + np.random.default_rng(0).integers(-9, 10, 224),
      0,
      255,
    ).astype(np.uint8)
    # The worse one agrees in the last band only, the best one in all others.
    hashes = np.array([1 + 2**16 + 2**32, 2**63, 0], np.uint64)
    partner, correlation = nearest_copies(
      hashes,
      np.stack([worse, thumbnail, thumbnail[::-1]]),
      np.zeros(2, np.uint64),
      np.stack([thumbnail, np.roll(thumbnail, 100)]),
      max_bits=3,
      min_correlation=0.9,
    )
    self.assertEqual(partner.tolist(), [1, -1])
    self.assertAlmostEqual(float(correlation[0]), 1.0, places=5)

  def test_copies_of_faces_are_found_and_other_faces_are_not(self):
    folder = orl_faces.skip_unless_there(self)
    photos = [
      cv2.resize(cv2.imread(str(folder / f"s{i}" / "1.pgm")), (96, 112))
      for i in range(1, 21)
    ]
    options = {"max_bits": 4, "min_correlation": 0.995}
    copies = [
      *(_jpeg(photo, 50) for photo in photos[:10]),
      *(cv2.convertScaleAbs(photo, alpha=0.8, beta=20) for photo in photos[:5]),
    ]
    partner, _ = nearest_copies(*_arrays(photos), *_arrays(copies), **options)
    self.assertEqual(partner.tolist(), [*range(10), *range(5)])
    partner, _ = nearest_copies(
      *_arrays(photos[:10]), *_arrays(photos[10:]), **options
    )
    self.assertEqual(partner.tolist(), [-1] * 10)

  def test_the_limit_is_checked(self):
    with self.assertRaisesRegex(ValueError, "expected 0 to 15, got 16"):
      nearest_copies(
        *_arrays([smooth_picture(0)]),
        *_arrays([smooth_picture(1)]),
        max_bits=16,
        min_correlation=0.9,
      )


if __name__ == "__main__":
  absltest.main()
