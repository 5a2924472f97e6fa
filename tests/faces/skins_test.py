"""Skins: their file, the holes they close, how faces wear them."""

import dataclasses
import pathlib

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
import scipy

from disentangle3d.faces import appearance, wardrobe
from disentangle3d.faces.cavities import (
  cavity_points,
  find_cavities,
  open_mouth,
)
from disentangle3d.faces.head_closure import borders, close_head, head_closure
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.skins import load_skins, save_skins, skins_for
from disentangle3d.types import UserError
from tests.faces.skinned import plain_skins, with_holes


def setUpModule():
  global MODEL, HOLED, CAVITIES, SKINS
  MODEL = procedural_face_model(
    num_vertices=1_500, identity_dim=12, expression_dim=6
  )
  HOLED = with_holes(MODEL)
  CAVITIES = find_cavities(HOLED)
  SKINS = plain_skins(HOLED)


class CavitiesTest(absltest.TestCase):
  def test_every_hole_is_closed_and_looks_outwards(self):
    both = np.concatenate([HOLED.triangles, CAVITIES.triangles])
    mean = jnp.asarray(HOLED.mean_shape)
    points = np.asarray(
      jnp.concatenate([mean, cavity_points(CAVITIES, mean[None])[0]])
    )
    self.assertLen(borders(np.asarray(HOLED.triangles), points), 4)
    # The head's outer border, and the middles: rings of no length.
    closed = borders(both, points)
    lengths = [np.ptp(points[loop], axis=0).max() for loop in closed]
    self.assertGreater(lengths[0], 100)
    np.testing.assert_allclose(lengths[1:], 0, atol=1e-4)
    corners = points[np.asarray(CAVITIES.triangles)]
    normals = np.cross(
      corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    )
    self.assertGreater((normals[:, 2] >= -1e-6).mean(), 0.9)

  def test_they_follow_the_shape(self):
    shape = jnp.asarray(HOLED.mean_shape)[None]
    moved = cavity_points(CAVITIES, shape + jnp.asarray([[[3.0, -2.0, 5.0]]]))
    np.testing.assert_allclose(
      moved - cavity_points(CAVITIES, shape),
      np.broadcast_to([3, -2, 5], moved.shape),
      atol=1e-4,
    )

  def test_an_opened_mouth_lets_the_lower_lip_down(self):
    mean = np.asarray(HOLED.mean_shape)
    moved = open_mouth(HOLED, CAVITIES) - mean
    np.testing.assert_array_equal(moved[:, [0, 2]], 0)
    lips = np.unique(CAVITIES.border[CAVITIES.mouth > 0])
    lower = mean[lips, 1] < mean[lips, 1].mean()
    np.testing.assert_array_equal(moved[lips[~lower]], 0)
    self.assertAlmostEqual(moved[lips[lower], 1].min(), -12, delta=0.2)
    outer = borders(np.asarray(HOLED.triangles), mean)[0]
    np.testing.assert_array_equal(moved[outer], 0)
    self.assertTrue((moved[:, 1] <= 1e-6).all())
    self.assertTrue((moved[:, 1] >= -12).all())
    # The mean is symmetric, its triangles nearly.
    _, pairs = scipy.spatial.KDTree(mean).query(mean * [-1, 1, 1])
    np.testing.assert_allclose(moved[pairs], moved, atol=0.5)
    np.testing.assert_array_equal(
      open_mouth(MODEL, find_cavities(MODEL)), MODEL.mean_shape
    )

  def test_two_eyes_and_a_mouth(self):
    per_hole = [
      np.unique(CAVITIES.mouth[CAVITIES.hole == hole]).item()
      for hole in range(3)
    ]
    self.assertCountEqual(per_hole, [0.0, 0.0, 1.0])


class SkinFileTest(absltest.TestCase):
  def test_a_file_comes_back(self):
    path = pathlib.Path(self.create_tempdir()) / "skins.npz"
    save_skins(path, SKINS)
    read = load_skins(path)
    np.testing.assert_array_equal(read.albedo, SKINS.albedo)
    np.testing.assert_array_equal(read.smiles, SKINS.smiles)
    self.assertEqual(read.licence, SKINS.licence)
    self.assertEqual(skins_for(MODEL, path).source, "tests")

  def test_what_is_asked_for(self):
    folder = pathlib.Path(self.create_tempdir())
    self.assertIsNone(skins_for(MODEL, "auto", shipped=folder))
    save_skins(folder / "some.npz", SKINS)
    self.assertIsNone(skins_for(MODEL, "none", shipped=folder))
    self.assertEqual(skins_for(MODEL, "auto", shipped=folder).source, "tests")
    other = dataclasses.replace(MODEL, name="other")
    self.assertIsNone(skins_for(other, "auto", shipped=folder))
    with self.assertRaisesRegex(UserError, "some.npz: expected skins for 'oth"):
      skins_for(other, folder / "some.npz")

  def test_damage_is_named(self):
    path = pathlib.Path(self.create_tempdir()) / "skins.npz"
    with self.assertRaisesRegex(UserError, "albedo: expected uint8"):
      save_skins(path, SKINS.replace(albedo=np.zeros((1, 2, 3), np.float32)))
    self.assertFalse(path.exists())
    np.savez(path, albedo=SKINS.albedo)
    with self.assertRaisesRegex(UserError, "skins.npz: .* without about, back"):
      load_skins(path)

  def test_the_shipped_skins_are_for_ict_facekit(self):
    ict = dataclasses.replace(MODEL, name="ICT-FaceKit, full face")
    skins = skins_for(ict, "auto")
    self.assertEqual(skins.albedo.shape, (102, 10_031, 3))
    self.assertIn("CC-BY 4.0", skins.licence)
    self.assertIn("London Set", skins.source)


class DressTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.canvas = appearance.make_canvas(HOLED)
    closure = head_closure(HOLED)
    cls.worn = wardrobe.make_wardrobe(HOLED, closure, cls.canvas, SKINS, seed=0)
    cls.palette = appearance.constant_palette()

  def dresses(self, normal):
    return jax.vmap(
      lambda one: wardrobe.dress(self.worn, self.canvas, self.palette, one)
    )(jnp.asarray(normal))

  def test_they_stay_float32_under_x64(self):
    normal = np.zeros((2, wardrobe.SKIN_DRAWS), np.float32)
    with jax.enable_x64(True):
      dress = jax.eval_shape(self.dresses, normal)
    floats = {leaf.dtype for leaf in jax.tree.leaves(dress)}
    self.assertNotIn(jnp.dtype(jnp.float64), floats)

  def test_smiles_of_other_modes_are_refused(self):
    others = SKINS.replace(modes_mm=np.asarray(SKINS.modes_mm) * 1.1)
    with self.assertRaisesRegex(UserError, "smiles: expected coefficients of"):
      wardrobe.make_wardrobe(
        HOLED, head_closure(HOLED), self.canvas, others, seed=0
      )
    few = SKINS.replace(smiles=SKINS.smiles[:, :2], modes_mm=SKINS.modes_mm[:2])
    with self.assertRaisesRegex(UserError, "expected 6 expression coeff"):
      wardrobe.make_wardrobe(
        HOLED, head_closure(HOLED), self.canvas, few, seed=0
      )

  def test_skins_are_ordered_by_tone(self):
    self.assertTrue((np.diff(np.asarray(self.worn.tone).sum(1)) > 0).all())

  def test_partners_are_of_like_tone(self):
    # Plain skins of one colour, whose level is taken to the common tone: no
    # border between partners can show.
    normal = np.zeros((4, wardrobe.SKIN_DRAWS), np.float32)
    normal[:, 0] = [-2, -1, 1, 2]
    dress = self.dresses(normal)
    face = np.asarray(dress.face)[:, :1_500]
    np.testing.assert_allclose(
      face,
      np.broadcast_to(np.asarray(dress.skin)[:, None], face.shape),
      rtol=1e-4,
    )
    self.assertTrue((np.diff(face[:, 0].sum(-1)) > 0).all())

  def test_the_upper_teeth_stay_where_they_are_in_an_opening_mouth(self):
    closure = head_closure(HOLED)
    dress = jax.tree.map(
      lambda leaf: leaf[0], self.dresses(jnp.zeros((1, wardrobe.SKIN_DRAWS)))
    )
    mean = np.asarray(HOLED.mean_shape)
    mouth = np.asarray(CAVITIES.mouth) > 0
    lips = np.unique(np.asarray(CAVITIES.border)[mouth])
    middle = mean[lips, 1].mean()
    lower = lips[mean[lips, 1] < middle]
    edge = mean[HOLED.landmark_vertices[33], 1] - float(self.worn.teeth_mm)
    for drop_mm in (0, 12, 24):
      shape = np.array(mean)
      shape[lower, 1] -= drop_mm
      batch = jnp.asarray(shape)[None]
      head = close_head(closure, batch, jnp.full((1,), 15.0))
      points = wardrobe.dressed_points(self.worn, batch, head)[0]
      colors = wardrobe.dressed_colors(self.worn, dress, closure, points)
      inside = np.asarray(points)[-len(mouth) :][mouth]
      bright = np.asarray(colors)[-len(mouth) :][mouth].min(-1) > 0.4
      front = np.abs(inside[:, 0]) < 15
      np.testing.assert_array_equal(
        bright[front & (inside[:, 1] > edge + 0.5)], True
      )
      np.testing.assert_array_equal(bright[inside[:, 1] < edge - 0.5], False)
      with self.subTest(drop_mm=drop_mm):
        self.assertEqual(bright.all(), False)
        self.assertTrue(bright.any() or not drop_mm)

  def test_a_mesh_without_holes_is_dressed(self):
    closure = head_closure(MODEL)
    canvas = appearance.make_canvas(MODEL)
    worn = wardrobe.make_wardrobe(
      MODEL, closure, canvas, plain_skins(MODEL), seed=0
    )
    self.assertEqual(worn.cavities.num_vertices, 0)
    normal = jnp.zeros((wardrobe.SKIN_DRAWS,))
    dress = wardrobe.dress(worn, canvas, self.palette, normal)
    batch = jnp.asarray(MODEL.mean_shape)[None]
    head = close_head(closure, batch, jnp.full((1,), 15.0))
    points = wardrobe.dressed_points(worn, batch, head)[0]
    colors = wardrobe.dressed_colors(worn, dress, closure, points)
    self.assertEqual(colors.shape, points.shape)
    np.testing.assert_array_equal(colors[: len(dress.face)], dress.face)

  def test_another_mesh_is_refused(self):
    fewer = SKINS.replace(albedo=SKINS.albedo[:, :-1])
    with self.assertRaisesRegex(UserError, "skins.albedo: expected colours of"):
      wardrobe.make_wardrobe(
        HOLED, head_closure(HOLED), self.canvas, fewer, seed=0
      )


if __name__ == "__main__":
  absltest.main()
