from absl.testing import absltest, parameterized
import jax.numpy as jnp
import numpy as np

from disentangle3d.geometry import Camera, project
from disentangle3d.reporting import charts, figures

# One size everywhere, overlays too: the renderer is compiled once.
_SIZE = 24


def _sphere(radius: float = 80.0):
  """A closed sphere, counter-clockwise from outside."""
  around, down = np.meshgrid(np.arange(24), np.arange(13))
  phi, theta = around * np.pi / 12, down * np.pi / 12
  vertices = radius * np.stack(
    [np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)],
    -1,
  ).reshape(-1, 3)
  corner = (down * 24 + around)[:-1].ravel()
  right = (down * 24 + (around + 1) % 24)[:-1].ravel()
  triangles = np.concatenate(
    [
      np.stack([corner, corner + 24, right], 1),
      np.stack([right, corner + 24, right + 24], 1),
    ]
  )
  return vertices.astype(np.float32), triangles.astype(np.int32)


def _camera(scale=0.05, x=5.0, y=6.5) -> Camera:
  return Camera(
    scale=jnp.float32(scale),
    rotation=jnp.eye(3),
    translation=jnp.array([x, y], jnp.float32),
  )


class RenderShapeTest(parameterized.TestCase):
  def test_a_sphere_is_a_grey_disc_in_the_middle(self):
    vertices, triangles = _sphere()
    picture = figures.render_shape(vertices, triangles, size_px=_SIZE)
    self.assertEqual((picture.shape, picture.dtype), ((24, 24, 3), np.uint8))
    self.assertEqual(picture[0, 0].tolist(), [255, 255, 255])
    inked = (picture < 250).all(-1)
    np.testing.assert_array_equal(inked, inked[::-1])
    radius = _SIZE / 1.06 / 2
    self.assertBetween(inked.sum() / (np.pi * radius**2), 0.92, 1.08)
    np.testing.assert_array_equal(picture[inked][:, 0], picture[inked][:, 2])

  def test_a_shape_far_from_the_origin_is_in_the_middle_too(self):
    vertices, triangles = _sphere()
    moved = vertices + np.float32([200, 300, -50])
    np.testing.assert_allclose(
      figures.render_shape(moved, triangles, size_px=_SIZE).astype(int),
      figures.render_shape(vertices, triangles, size_px=_SIZE),
      atol=3,
    )

  def test_several_shapes_share_one_scale(self):
    vertices, triangles = _sphere()
    pictures = figures.render_shape(
      np.stack([vertices, 0.5 * vertices]), triangles, size_px=_SIZE
    )
    large, small = (np.sum(picture < 250) for picture in pictures)
    self.assertBetween(large / small, 3.3, 4.7)
    np.testing.assert_array_equal(
      pictures[0], figures.render_shape(vertices, triangles, size_px=_SIZE)
    )

  def test_positive_yaw_turns_the_nose_to_the_right(self):
    vertices, triangles = _sphere()
    # A spike for a nose: the picture ends in its tip on one side.
    vertices[np.argmax(vertices[:, 2])] = [0, 0, 250]
    picture = figures.render_shape(
      vertices, triangles, yaw_rad=0.9, size_px=_SIZE
    )
    inked = np.sum((picture < 250).all(-1), axis=0)
    columns = np.flatnonzero(inked)
    left, right = inked[columns[:4]].sum(), inked[columns[-4:]].sum()
    self.assertGreater(left, 2 * right)


class OverlayTest(parameterized.TestCase):
  def test_the_mesh_lies_where_project_puts_it(self):
    vertices, triangles = _sphere()
    camera = _camera()
    photo = np.zeros((12, 12, 3), np.uint8)
    picture = figures.overlay_mesh(
      photo, vertices, triangles, camera, upscale=2, opacity=1.0
    )
    self.assertEqual(picture.shape, (24, 24, 3))
    inked = np.argwhere(picture[..., 2] > 30)
    # Back to the photo's pixels, whose centres are whole numbers.
    rows, columns = (inked.min(0) + inked.max(0) + 1) / 4 - 0.5
    center = np.asarray(project(camera, jnp.zeros((1, 3))))[0]
    np.testing.assert_allclose([columns, rows], center, atol=0.26)

  def test_opacity_zero_and_outside_leave_the_photo(self):
    vertices, triangles = _sphere()
    photo = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    hidden = figures.overlay_mesh(
      photo, vertices, triangles, _camera(), upscale=2, opacity=0.0
    )
    large = np.asarray(hidden)
    away = figures.overlay_mesh(
      photo, vertices, triangles, _camera(x=-99.0), upscale=2
    )
    np.testing.assert_array_equal(away, large)
    half = figures.overlay_mesh(
      photo, vertices, triangles, _camera(), upscale=2, opacity=0.5
    )
    whole = figures.overlay_mesh(
      photo, vertices, triangles, _camera(), upscale=2, opacity=1.0
    )
    mixture = (large.astype(float) + whole) / 2
    np.testing.assert_allclose(half, mixture, atol=1.01)

  def test_errors_name_the_argument(self):
    vertices, triangles = _sphere()
    photo = np.zeros((12, 12, 3), np.uint8)
    with self.assertRaisesRegex(ValueError, "opacity: .* 1.5"):
      figures.overlay_mesh(photo, vertices, triangles, _camera(), opacity=1.5)
    with self.assertRaisesRegex(ValueError, "upscale: .* 0"):
      figures.overlay_mesh(photo, vertices, triangles, _camera(), upscale=0)
    with self.assertRaisesRegex(TypeError, "photo: expected a uint8"):
      figures.overlay_mesh(photo * 1.0, vertices, triangles, _camera())
    with self.assertRaisesRegex(ValueError, "size_px: .* 0"):
      figures.render_shape(vertices, triangles, size_px=0)
    with self.assertRaisesRegex(ValueError, "extent_mm: .* -1"):
      figures.render_shape(vertices, triangles, extent_mm=-1.0)
    with self.assertRaisesRegex(ValueError, r"\[N, V, 3\], got \[1, 1, 312, 3"):
      figures.render_shape(vertices[None, None], triangles)


class HeatMapTest(parameterized.TestCase):
  def test_colours_are_the_errors(self):
    """Left half 0 mm (dark), right half the maximum (yellow), top unknown."""
    vertices, triangles = _sphere()
    error = np.where(vertices[:, 0] > 0, 4.0, 0.0)
    error[vertices[:, 1] > 40] = np.nan
    figure = figures.heat_map(
      vertices, triangles, error, maximum_mm=4.0, labels=["A"], size_px=_SIZE
    )
    face, bar = figure.axes
    self.assertEqual(bar.get_ylabel(), "distance to the true shape (mm)")
    self.assertEqual(bar.get_ylim(), (0.0, 4.0))
    self.assertEqual(face.get_title(), "A")
    picture = face.images[0].get_array().astype(int)
    left, right, top = picture[12, 6], picture[12, 18], picture[3, 12]
    self.assertGreater(right[1], left[1] + 100)
    # Only the end of the colour bar has more red than blue.
    self.assertGreater(right[0], right[2] + 60)
    self.assertGreater(left[2], left[1])
    self.assertLess(np.ptp(top), 8)
    self.assertEqual(charts.figure_image(figure).ndim, 3)

  def test_the_bar_ends_at_the_99th_percentile(self):
    vertices, triangles = _sphere()
    error = np.arange(len(vertices), dtype=np.float32)
    figure = figures.heat_map(
      np.stack([vertices] * 2), triangles, np.stack([error] * 2), size_px=_SIZE
    )
    self.assertLen(figure.axes, 3)
    self.assertAlmostEqual(
      figure.axes[-1].get_ylim()[1],
      np.percentile([*error, *error], 99),
      places=3,
    )

  def test_errors_name_the_argument(self):
    vertices, triangles = _sphere()
    error = np.zeros(len(vertices))
    with self.assertRaisesRegex(ValueError, "error_mm: expected shape .312"):
      figures.heat_map(vertices, triangles, error[1:])
    with self.assertRaisesRegex(ValueError, "error_mm: .* got none"):
      figures.heat_map(vertices, triangles, error * np.nan)
    with self.assertRaisesRegex(ValueError, "labels: expected 1.* got 2"):
      figures.heat_map(vertices, triangles, error, labels=["A", "B"])


class PicturesTest(parameterized.TestCase):
  def test_landmarks_lie_on_their_pixels(self):
    photo = np.zeros((20, 30, 3), np.uint8)
    picture = figures.draw_landmarks(
      photo,
      np.array([[4.0, 5.0], [20.0, 15.0]]),
      visibility=np.array([1.0, 0.0]),
      upscale=8,
    )
    self.assertEqual(picture.shape, (160, 240, 3))
    green = picture[..., 1] > 150
    at_first = np.argwhere(green[:80, :100])
    np.testing.assert_allclose(
      (at_first.mean(0) + 0.5) / 8 - 0.5, [5, 4], atol=0.1
    )
    # The invisible one is a ring: its middle shows the photo.
    self.assertTrue(green[110:140, 150:180].any())
    self.assertEqual(picture[124, 164].tolist(), [0, 0, 0])

  def test_contact_sheet_holds_every_picture_unchanged(self):
    rng = np.random.default_rng(0)
    images = [
      rng.integers(0, 256, (h, w, 3), np.uint8)
      for h, w in ((8, 6), (8, 6), (4, 6))
    ]
    sheet = figures.contact_sheet(images, columns=2, gap_px=2)
    self.assertEqual(sheet.shape, (2 * 10 + 2, 2 * 8 + 2, 3))
    np.testing.assert_array_equal(sheet[2:10, 2:8], images[0])
    np.testing.assert_array_equal(sheet[2:10, 10:16], images[1])
    np.testing.assert_array_equal(sheet[14:18, 2:8], images[2])
    self.assertTrue((sheet[10:, 9:] == 255).all())

  def test_labels_are_drawn_and_stay_in_their_cell(self):
    images = [np.full((20, 60, 3), 255, np.uint8)] * 2
    sheet = figures.contact_sheet(
      images, columns=2, labels=["a label much too long", ""], gap_px=4
    )
    inked = (sheet < 128).any(-1)
    self.assertTrue(inked[24:, 4:64].any())
    self.assertFalse(inked[:, 66:].any())

  def test_what_no_font_has_is_drawn_as_written_out(self):
    image = np.full((20, 60, 3), 255, np.uint8)
    sheets = [
      figures.contact_sheet([image], columns=1, labels=[label])
      for label in ("Jos\udce9\n", r"Jos\xe9\n")
    ]
    np.testing.assert_array_equal(*sheets)

  def test_errors_name_the_argument(self):
    image = np.zeros((4, 4, 3), np.uint8)
    with self.assertRaisesRegex(ValueError, "images, columns: .* 0, 2"):
      figures.contact_sheet([], columns=2)
    with self.assertRaisesRegex(ValueError, "labels: expected 1.* got 2"):
      figures.contact_sheet([image], columns=1, labels=["a", "b"])
    with self.assertRaisesRegex(TypeError, r"images\[1\]: expected a uint8"):
      figures.contact_sheet([image, image * 1.0], columns=1)
    with self.assertRaisesRegex(ValueError, "visibility: .*L=3"):
      figures.draw_landmarks(image, np.zeros((3, 2)), visibility=np.zeros(2))


if __name__ == "__main__":
  absltest.main()
