"""What a camera sees of a face against the renderer's pictures."""

import functools
import pathlib
import tempfile

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from data_prep.photos.loose_photos import LoosePhoto
from disentangle3d.faces.morphable_model import landmark_points
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.rendering import (
  render,
  vertex_normals,
  vertex_visibility,
)
from disentangle3d.geometry import project, transform_camera
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.training.export import load_network, save_network
from experiments.photographs.cameras import photo_cameras
from experiments.photographs.files import write_face
from experiments.photographs.lines import Seen
from experiments.photographs.maps import MAP_FROM_CROP, face_maps
from experiments.photographs.shapes import network_maker
from experiments.photographs.solving import Solved
from tests.experiments.known_faces import KnownFaces, camera_of, gradient_photo

MODEL = FaceModel("tiny", identity_dim=8, residual_dim=4, num_vertices=600)


class MapsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    basis = procedural_face_model(
      num_vertices=600, identity_dim=8, expression_dim=4
    )
    params = init_params(jax.random.key(0), MODEL, basis)
    scratch = tempfile.TemporaryDirectory()
    cls.addClassCleanup(scratch.cleanup)
    network = pathlib.Path(scratch.name) / "net"
    save_network(network, MODEL, params, basis, phase="test")
    cls.maker = network_maker(load_network(network))
    points = landmark_points(basis, jnp.asarray(basis.mean_shape))
    landmarks = [np.asarray(project(camera_of(n), points)) for n in range(2)]
    photo = LoosePhoto("0", gradient_photo(0))
    known = KnownFaces(landmarks)
    cls.faces = [known.face(photo, number) for number in range(2)]
    cls.codes = cls.maker.encode(cls.faces)
    cls.cameras = photo_cameras(cls.maker, cls.codes, cls.faces)
    cls.solved = Solved(cls.codes, cls.cameras)

  def test_maps_are_what_the_renderer_draws(self):
    for row, found in enumerate(self.faces):
      own = self.solved.part(row, row + 1)
      maps = face_maps(self.maker, own.codes, own.cameras, found)
      camera = own.cameras
      for matrix in (found.crop_from_photo, MAP_FROM_CROP):
        camera = transform_camera(camera, jnp.asarray(matrix)[None])
      height, width = maps.depth_mm.shape
      shape, triangles = maps.shape[None], self.maker.triangles
      drawn = render(shape, triangles, camera, height=height, width=width)
      covered = np.asarray(drawn.triangle_index[0]) >= 0
      # A pixel on an edge may fall to either side.
      differ = covered != np.isfinite(maps.depth_mm)
      self.assertLess(differ.mean(), 1e-4)
      both = covered & ~differ
      self.assertGreater(both.mean(), 0.2)
      np.testing.assert_allclose(
        maps.depth_mm[both], np.asarray(drawn.depth[0])[both], atol=1e-2
      )
      normals = vertex_normals(shape, triangles)[0] @ camera.rotation[0].T
      corners = np.asarray(triangles)[np.asarray(drawn.triangle_index[0])[both]]
      weights = np.asarray(drawn.barycentrics[0])[both][..., None]
      expected = (weights * np.asarray(normals)[corners]).sum(-2)
      expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
      np.testing.assert_allclose(maps.normals[both], expected, atol=1e-3)
      self.assertEqual(np.abs(maps.normals[~covered & ~differ]).max(), 0)
      seen = vertex_visibility(drawn.depth, shape, triangles, camera)[0]
      self.assertLess((np.asarray(seen) != maps.seen).mean(), 0.01)
      np.testing.assert_allclose(
        maps.facing,
        np.where(maps.seen, np.asarray(normals)[:, 2], 0),
        atol=1e-5,
      )

  def test_a_skin_is_made_where_it_is_shown(self):
    seen = Seen("0", "", (), tuple(self.faces))
    face = self.solved.face(0, seen, self.faces[0], self.maker)
    for wanted, asked in (
      (False, {"outputs": ("mesh", "overlay"), "formats": ("obj", "ply")}),
      (False, {"outputs": ("maps",), "formats": ("glb",)}),
      (True, {"outputs": ("mesh",), "formats": ("glb",)}),
      (True, {"outputs": ("views",)}),
      (True, {"outputs": (), "viewer": True}),
    ):
      with self.subTest(**asked), tempfile.TemporaryDirectory() as scratch:
        write = functools.partial(write_face, pathlib.Path(scratch), face)
        skin = write(gradient_photo(0), self.maker, **asked)
        self.assertEqual(skin is not None, wanted)
        told = (pathlib.Path(scratch) / "result.json").read_text()
        self.assertNotIn("no texture", told)


if __name__ == "__main__":
  absltest.main()
