"""Skins out of pictures whose albedo and light are known."""

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np
import scipy

from data_prep.fitting.backdrops import shuffled_backdrops
from data_prep.fitting.skin_sampling import (
  SkinMesh,
  completed,
  person_skin,
  unshaded,
)
from disentangle3d.faces.morphable_model import landmark_points
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.rendering import render, vertex_normals
from disentangle3d.faces.shading import (
  ambient_light,
  directional_light,
  irradiance,
)
from disentangle3d.faces.skins import GAMMA
from disentangle3d.geometry import Camera, project
from tests.faces.skinned import with_holes

LIGHT = ambient_light(jnp.full((3,), 0.4)) + directional_light(
  jnp.asarray([0.8, 0.3, 0.6]), jnp.full((3,), 0.7)
)


def setUpModule():
  global MODEL, MESH, POINTS, NORMALS
  MODEL = with_holes(
    procedural_face_model(num_vertices=3_000, identity_dim=4, expression_dim=3)
  )
  MESH = SkinMesh(MODEL)
  POINTS = MESH.points(np.asarray(MODEL.mean_shape)[None])
  NORMALS = np.asarray(vertex_normals(POINTS, jnp.asarray(MESH.triangles)))[0]


def spotted():
  """Albedo in spots of 22 mm, `[V + C, 3]`."""
  x, y, _ = np.asarray(POINTS)[0].T
  spots = 0.5 + 0.2 * np.cos(x / 7) * np.cos(y / 7)
  return spots[:, None] * np.array([0.8, 0.6, 0.5])


class UnshadedTest(absltest.TestCase):
  def test_the_light_is_divided_out(self):
    albedo = spotted()
    shaded = albedo * np.asarray(irradiance(jnp.asarray(NORMALS), LIGHT))
    sure = np.clip(NORMALS[:, 2], 0, 1) ** 2
    found = unshaded(shaded, NORMALS, sure)
    seen = sure > 0.3
    before = np.corrcoef(shaded[seen, 0], albedo[seen, 0])[0, 1]
    after = np.corrcoef(found[seen, 0], albedo[seen, 0])[0, 1]
    self.assertLess(before, 0.9)
    self.assertGreater(after, 0.95)


class CompletedTest(absltest.TestCase):
  def test_the_unseen_half_is_the_mirror_of_the_other(self):
    x = np.asarray(POINTS)[0, :, 0]
    sure = (x > -5).astype(np.float64)
    albedo = spotted()
    symmetric = 0.5 * (albedo + albedo[MESH.mirror])
    seen = symmetric * sure[:, None]
    full = completed(seen, sure, MESH.mirror, MESH.laplacian)
    hidden = x < -5
    alike = np.corrcoef(full[hidden, 0], symmetric[hidden, 0])[0, 1]
    self.assertGreater(alike, 0.85)
    self.assertLess(np.abs(full - symmetric)[x > 5].mean(), 0.02)

  def test_what_nobody_sees_is_between_its_neighbours(self):
    chain = scipy.sparse.csgraph.laplacian(
      scipy.sparse.diags_array([np.ones(8)] * 2, offsets=[1, -1], shape=(9, 9))
    )
    sure = np.array([1e3, *7 * (0.0,), 1e3])
    colors = np.zeros((9, 3))
    colors[-1] = 0.8
    found = completed(colors, sure, np.arange(9), chain.tocsr())
    np.testing.assert_allclose(found[:, 0], np.linspace(0, 0.8, 9), atol=2e-3)


class PersonSkinTest(absltest.TestCase):
  def test_a_photograph_gives_its_albedo_back(self):
    albedo = spotted()
    camera = Camera(
      scale=jnp.asarray([1.6]),
      rotation=jnp.eye(3)[None],
      translation=jnp.asarray([[150.0, 170.0]]),
    )
    linear = render(
      POINTS,
      jnp.asarray(MESH.triangles),
      camera,
      height=340,
      width=300,
      colors=jnp.asarray(albedo, jnp.float32)[None],
      lighting=LIGHT[None],
    ).image[0]
    photo = np.round(255 * np.asarray(linear) ** (1 / GAMMA)).astype(np.uint8)
    shape = np.asarray(MODEL.mean_shape)[None]
    marks = project(camera, landmark_points(MODEL, jnp.asarray(shape)))[0]
    skin = person_skin(
      MESH,
      [photo],
      [np.asarray(marks)],
      np.zeros(4, np.float32),
      np.zeros((1, 3), np.float32),
      camera,
    )
    self.assertEqual(skin.shape, albedo.shape)
    found = (skin / 255.0) ** GAMMA
    seen = NORMALS[:, 2] > 0.8
    self.assertGreater(np.corrcoef(found[seen, 0], albedo[seen, 0])[0, 1], 0.9)
    # Colours keep their hue.
    np.testing.assert_allclose(
      np.median(found[seen, 0] / found[seen, 2]), 1.6, rtol=0.05
    )


class BackdropsTest(absltest.TestCase):
  def test_pieces_are_of_the_photographs_and_seeded(self):
    red = np.zeros((60, 60, 3), np.uint8)
    red[..., 0] = 200
    made = shuffled_backdrops([red], 4, seed=1)
    self.assertEqual(made.shape, (4, 36, 32, 3))
    # Of one bright channel one stays, whichever it becomes.
    self.assertLess(np.sort(made, -1)[..., 1].mean(), 15)
    np.testing.assert_array_equal(made, shuffled_backdrops([red], 4, seed=1))
    self.assertTrue((made != shuffled_backdrops([red], 4, seed=2)).any())


if __name__ == "__main__":
  absltest.main()
