"""Skins out of photos whose colours say where they are."""

from absl.testing import absltest
import numpy as np

from disentangle3d.faces.cavities import find_cavities
from disentangle3d.faces.morphable_model import without_modes
from disentangle3d.faces.procedural import procedural_face_model
from experiments.photographs.skins import (
  SKIN_PX,
  photo_skin,
  skin_layout,
  turned_views,
)
from tests.faces.skinned import with_holes


class SkinsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    model = without_modes(
      procedural_face_model(num_vertices=600, identity_dim=1, expression_dim=1)
    )
    cls.layout = skin_layout(model)
    cls.vertices = cls.layout.mesh.vertices(np.asarray(model.mean_shape))
    # 1 px a millimetre, x and y from 0 to 250.
    cls.points = [125, 125] + cls.vertices[:, :2] * [1, -1]
    y, x = np.mgrid[:250, :250]
    cls.photo = np.stack([x, y, 0 * x], -1).astype(np.uint8)

  def skin(self, facing):
    return photo_skin(self.photo, self.points, facing, self.layout).astype(int)

  def colors_at(self, skin, rows):
    place = np.round(self.layout.places[rows] * SKIN_PX - 0.5).astype(int)
    return skin[place[:, 1], place[:, 0]]

  def front(self, side):
    """Vertices that lie in front, away from edges, on one side."""
    x, _, z = self.vertices[:600].T
    shown = np.isin(np.arange(600), self.layout.mesh.triangles)
    return np.flatnonzero(shown & (z > 0) & (side * x > 8))

  def test_what_is_seen_has_the_photos_colours(self):
    skin = self.skin(np.ones(len(self.points)))
    for side in (-1, 1):
      rows = self.front(side)
      self.assertGreater(len(rows), 20)
      np.testing.assert_allclose(
        self.colors_at(skin, rows)[:, :2], self.points[rows], atol=2.5
      )

  def test_what_is_hidden_has_the_other_sides(self):
    hidden = self.points[:, 0] > 125
    skin = self.skin(np.where(hidden, 0, 1))
    rows = self.front(1)
    mirrored = [250, 0] + self.points[rows] * [-1, 1]
    np.testing.assert_allclose(
      self.colors_at(skin, rows)[:, :2], mirrored, atol=6
    )
    self.assertIsNone(
      photo_skin(
        self.photo, self.points, np.zeros(len(self.points)), self.layout
      )
    )
    self.assertIsNone(
      photo_skin(
        self.photo, self.points + 900, np.ones(len(self.points)), self.layout
      )
    )

  def test_closed_lips_leave_teeth_a_place(self):
    holed = with_holes(
      procedural_face_model(
        num_vertices=1_500, identity_dim=1, expression_dim=1
      )
    )
    cavities = find_cavities(holed)
    lips = np.unique(cavities.border[cavities.mouth > 0])
    mean = np.array(holed.mean_shape)
    middle = mean[lips, 1].mean()
    lower = lips[mean[lips, 1] < middle]
    mean[lips, 1] = middle + 0.05 * (mean[lips, 1] - middle)
    layout = skin_layout(holed.replace(mean_shape=mean))
    smile = np.array(mean)
    smile[lower, 1] -= 10
    vertices = layout.mesh.vertices(smile)
    points = [125, 125] + vertices[:, :2] * [1, -1]
    skin = photo_skin(self.photo, points, np.ones(len(points)), layout)
    # Near its corners a mouth is too low for a texel.
    inside = (cavities.mouth > 0) & (cavities.share < 0.8)
    inside &= np.abs(mean[cavities.border, 0]) < 12
    rows = 1_500 + np.flatnonzero(inside)
    place = np.round(layout.places[rows] * SKIN_PX - 0.5).astype(int)
    colors = skin[place[:, 1], place[:, 0]].astype(int)
    np.testing.assert_allclose(colors[:, :2], points[rows], atol=2.5)

  def test_edges_of_lips_do_not_show_teeth(self):
    holed = with_holes(
      procedural_face_model(
        num_vertices=1_500, identity_dim=1, expression_dim=1
      )
    )
    layout = skin_layout(holed)
    cavities = find_cavities(holed)
    mouth = 1_500 + np.flatnonzero(cavities.mouth)
    teeth = np.zeros(layout.covered.shape)
    shares = layout.interpolate[:, mouth].sum(1)
    teeth[layout.covered] = np.asarray(shares).ravel()
    self.assertGreater((teeth > 0.9).sum(), 50)
    lips = np.unique(cavities.border[cavities.mouth > 0])
    # Without the corners, where upper and lower lip meet.
    lips = lips[np.abs(np.asarray(holed.mean_shape)[lips, 0]) < 12]
    x, y = np.round(layout.places[lips] * SKIN_PX - 0.5).astype(int).T
    for down in (-1, 0, 1):
      np.testing.assert_array_equal(teeth[y + down, x], 0)

  def test_views_show_the_skin_on_white(self):
    skin = np.full((SKIN_PX, SKIN_PX, 3), (200, 100, 50), np.uint8)
    views = turned_views(
      self.vertices, self.layout, skin, yaws_deg=(0, 30), size_px=60
    )
    self.assertEqual(views.shape, (60, 120, 3))
    for start in (0, 60):
      view = views[:, start : start + 60]
      np.testing.assert_array_equal(view[0, 0], 255)
      np.testing.assert_array_equal(view[30, 30], (200, 100, 50))


if __name__ == "__main__":
  absltest.main()
