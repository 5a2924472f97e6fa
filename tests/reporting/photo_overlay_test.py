"""Overlays in the photo's own resolution, against polygons worked by hand."""

from unittest import mock

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np

from disentangle3d.geometry import Camera, invert_affine, transform_camera
from disentangle3d.reporting import photo_overlay
from disentangle3d.reporting.figures import overlay_mesh
from disentangle3d.reporting.photo_overlay import overlay_on_photo

# A square of 60 mm; in the crop it is 40 px wide around (48, 60).
SQUARE = np.array(
  [[-30, -30, 0], [30, -30, 0], [30, 30, 0], [-30, 30, 0]], np.float32
)
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
CROP_CAMERA = Camera(
  scale=jnp.float32(2 / 3),
  rotation=jnp.eye(3),
  translation=jnp.array([48.0, 60.0]),
)


def photo_of(height, width):
  """Noise, so that a pixel drawn over can be told."""
  rng = np.random.default_rng(0)
  return rng.integers(0, 120, (height, width, 3), np.uint8)


def crop_from_photo(scale, degrees, shift):
  angle = np.radians(degrees)
  turn = scale * np.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  )
  return np.concatenate([turn, np.reshape(shift, (2, 1))], 1).astype(np.float32)


def inside_crop_square(matrix, height, width):
  """How far each photo pixel is inside the square, in photo pixels."""
  y, x = np.mgrid[:height, :width]
  points = np.stack([x, y, np.ones_like(x)], -1) @ matrix.T
  away = np.abs(points - [48, 60]).max(-1)
  return (20 - away) / np.hypot(matrix[0, 0], matrix[1, 0])


def _drawn_at(size, *, enlarged):
  return mock.patch.multiple(
    photo_overlay, _LEAST_PX=size, _MOST_PX=size, _ENLARGED=enlarged
  )


class OverlayOnPhotoTest(absltest.TestCase):
  def check(self, photo, matrix, within=1.0):
    camera = transform_camera(CROP_CAMERA, invert_affine(jnp.asarray(matrix)))
    drawn = overlay_on_photo(photo, SQUARE, TRIANGLES, camera, opacity=1.0)
    self.assertEqual(drawn.shape, photo.shape)
    changed = np.any(drawn != photo, -1)
    inside = inside_crop_square(matrix, *photo.shape[:2])
    self.assertTrue(changed[inside > within].all())
    self.assertFalse(changed[inside < -within].any())
    return drawn, camera

  def test_it_is_where_the_inverse_crop_transform_says(self):
    # The photo is 4 times as large as the crop and turned by 25 degrees.
    photo = photo_of(420, 500)
    self.check(photo, crop_from_photo(0.25, 25, [-10, 5]))

  def test_tiles_make_one_picture(self):
    # The square is 160 px wide; no tile is that large here.
    photo = photo_of(420, 500)
    matrix = crop_from_photo(0.25, 25, [-10, 5])
    with _drawn_at(64, enlarged=1):
      drawn, camera = self.check(photo, matrix)
    whole = overlay_mesh(
      photo, SQUARE, TRIANGLES, camera, upscale=1, opacity=1.0
    )
    # At the square's edges a tile that is hardly shrunk is less smooth.
    edge = np.abs(inside_crop_square(matrix, 420, 500)) < 2
    self.assertLess(np.abs(drawn.astype(int) - whole)[~edge].max(), 2)

  def test_a_large_face_is_drawn_smaller_and_enlarged(self):
    photo = photo_of(420, 500)
    matrix = crop_from_photo(0.25, 25, [-10, 5])
    # The turned square is 213 px wide.
    with _drawn_at(150, enlarged=1.5):
      drawn, _ = self.check(photo, matrix, within=2)
    with _drawn_at(150, enlarged=1):
      tiled, _ = self.check(photo, matrix)
    edge = np.abs(inside_crop_square(matrix, 420, 500)) < 2
    self.assertLess(np.abs(drawn.astype(int) - tiled)[~edge].max(), 2)
    self.assertGreater(np.abs(drawn.astype(int) - tiled)[edge].max(), 2)

  def test_a_face_over_the_photos_edge_is_cut(self):
    photo = photo_of(90, 70)
    self.check(photo, crop_from_photo(1.0, 0, [-20, 40]))

  def test_a_face_beside_the_photo_leaves_it(self):
    photo = photo_of(50, 60)
    drawn, _ = self.check(photo, crop_from_photo(1.0, 0, [200, 0]))
    np.testing.assert_array_equal(drawn, photo)

  def test_opacity_mixes(self):
    photo = photo_of(120, 100)
    camera = CROP_CAMERA
    through, half, over = (
      overlay_on_photo(photo, SQUARE, TRIANGLES, camera, opacity=share)
      for share in (0.0, 0.5, 1.0)
    )
    np.testing.assert_array_equal(through, photo)
    np.testing.assert_allclose(
      half, (photo.astype(float) + over) / 2, atol=1.01
    )

  def test_other_shapes_are_refused(self):
    with self.assertRaisesRegex(ValueError, "vertices: "):
      overlay_on_photo(photo_of(9, 9), SQUARE[:, :2], TRIANGLES, CROP_CAMERA)
    with self.assertRaisesRegex(ValueError, "opacity: "):
      overlay_on_photo(
        photo_of(99, 99), SQUARE, TRIANGLES, CROP_CAMERA, opacity=2
      )


if __name__ == "__main__":
  absltest.main()
