import json
import pathlib

from absl.testing import absltest
import chex
import jax
import numpy as np

from disentangle3d.faces.morphable_model import synthesize_shape
from disentangle3d.inference import decode, encode
from disentangle3d.training.export import (
  SHIPPED,
  abstract_params,
  load_network,
  save_network,
)
from disentangle3d.types import Latents, UserError
from tests.fixtures import random_calibration
from tests.training.cases import MODEL, MORPHABLE_MODEL


class ExportTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(self.create_tempdir().full_path)
    self.folder = self.workdir / "export"
    rng = np.random.default_rng(0)
    self.params = jax.tree.map(
      lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
      abstract_params(MODEL),
    )
    head = {"identity_head": {"kernel": np.ones((12, 4), np.float32)}}
    save_network(
      self.folder, MODEL, self.params | head, MORPHABLE_MODEL, phase="encoder"
    )

  def test_export_comes_back_without_the_head(self):
    for path in (self.folder, self.workdir):
      got = load_network(path)
      self.assertEqual(got.model, MODEL)
      chex.assert_trees_all_equal(got.params, self.params)
      np.testing.assert_array_equal(got.triangles, MORPHABLE_MODEL.triangles)
      np.testing.assert_array_equal(
        got.landmark_vertices, MORPHABLE_MODEL.landmark_vertices
      )
      self.assertIsNone(got.mirror_vertices)
      self.assertEqual(got.licence, "Apache-2.0")
      self.assertEqual(got.phase, "encoder")

  def test_the_decoders_are_a_morphable_model(self):
    network = load_network(self.folder)
    rng = np.random.default_rng(3)
    latents = Latents(
      rng.uniform(-1, 1, (2, MODEL.identity_dim)).astype(np.float32),
      rng.uniform(-1, 1, (2, MODEL.residual_dim)).astype(np.float32),
    )
    got = synthesize_shape(
      network.as_morphable_model(), 3 * latents.identity, 3 * latents.residual
    )
    expected = decode(self.params, latents, model=MODEL).shape
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)

  def test_half_precision_takes_half_the_room(self):
    half = self.workdir / "half"
    save_network(
      half, MODEL, self.params, MORPHABLE_MODEL, phase="encoder", half=True
    )
    got = load_network(half)
    chex.assert_trees_all_equal_dtypes(got.params, self.params)
    chex.assert_trees_all_close(got.params, self.params, rtol=1e-3, atol=1e-6)
    sizes = [
      (folder / "params.npz").stat().st_size for folder in (half, self.folder)
    ]
    self.assertBetween(sizes[0] / sizes[1], 0.49, 0.55)

  @absltest.skipUnless(SHIPPED.is_dir(), "no network ships with this copy")
  def test_the_shipped_network_is_small_and_of_ict_facekit(self):
    network = load_network()
    self.assertIn("ICT-FaceKit", network.name)
    self.assertIn("MIT", network.licence)
    self.assertTrue((SHIPPED / "LICENSE.md").is_file())
    size = sum(path.stat().st_size for path in SHIPPED.iterdir())
    self.assertLess(size, 12e6)

  @absltest.skipIf(SHIPPED.is_dir(), "a network ships with this copy")
  def test_where_none_ships_that_is_said(self):
    with self.assertRaisesRegex(UserError, "no network ships with this copy"):
      load_network()

  def test_the_landmarks_calibration_goes_with_the_mesh(self):
    self.assertIsNone(load_network(self.folder).landmark_calibration)
    calibration = random_calibration(MORPHABLE_MODEL)
    save_network(
      self.folder,
      MODEL,
      self.params,
      MORPHABLE_MODEL.replace(landmark_calibration=calibration),
      phase="encoder",
    )
    got = load_network(self.folder).mean_face().landmark_calibration
    chex.assert_trees_all_equal(got, calibration)

  def test_it_can_be_written_again(self):
    other = self.params | {"mean_shape": np.zeros((120, 3), np.float32)}
    save_network(self.folder, MODEL, other, MORPHABLE_MODEL, phase="decoders")
    got = load_network(self.folder)
    self.assertEqual(np.abs(got.params["mean_shape"]).max(), 0)
    names = sorted(path.name for path in self.folder.iterdir())
    self.assertEqual(names, ["face_model.json", "params.npz", "topology.npz"])

  def _refused(self, error, message):
    with self.assertRaisesRegex(error, message):
      load_network(self.folder)

  def test_missing_folder_and_file(self):
    with self.assertRaisesRegex(FileNotFoundError, "nowhere: no face_model"):
      load_network(self.workdir / "nowhere")
    (self.folder / "params.npz").unlink()
    self._refused(FileNotFoundError, "params.npz: no such file")

  def test_damaged_files(self):
    whole = (self.folder / "params.npz").read_bytes()
    (self.folder / "params.npz").write_bytes(whole[: len(whole) // 2])
    self._refused(ValueError, "params.npz: expected an .npz")
    (self.folder / "face_model.json").write_text("{")
    self._refused(ValueError, "face_model.json: expected a description")

  def test_params_of_another_network(self):
    path = self.folder / "face_model.json"
    about = json.loads(path.read_text())
    for change, message in (
      ({"num_vertices": 121}, r"\[12, 363\], got \[12, 360\]"),
      ({"trunk": "sphere4"}, "params.npz: expected the arrays of sphere4"),
      ({"trunk": "resnet"}, "face_model.json: trunk: expected one of"),
      ({"depth": 3}, "face_model.json: expected a description"),
    ):
      model = about["model"] | change
      path.write_text(json.dumps(about | {"model": model}))
      self._refused(ValueError, message)

  def test_a_mesh_that_does_not_fit(self):
    path = self.folder / "topology.npz"
    whole = dict(np.load(path))
    for change, message in (
      ({"triangles": np.full((1, 3), 120, np.int32)}, "triangles: .*0 to 119"),
      (
        {"landmark_vertices": np.zeros(5, np.int32)},
        r"landmark_vertices: expected shape \[68\]",
      ),
      ({"mirror_vertices": np.zeros(120)}, "mirror_vertices: .*integer"),
    ):
      np.savez(path, **(whole | change))
      self._refused(UserError, f"topology.npz: {message}")
    np.savez(path, triangles=whole["triangles"])
    self._refused(UserError, "npz: .*got one without landmark_ver")

  def test_a_network_goes_into_jit_as_one_value(self):
    network = load_network(self.folder)
    run = jax.jit(
      lambda network, crops: encode(network.params, crops, model=network.model)
    )
    crops = np.zeros((1, 112, 96, 3), np.uint8)
    expected = encode(network.params, crops, model=network.model)
    np.testing.assert_allclose(
      run(network, crops).identity, expected.identity, atol=1e-5
    )

  def test_its_mean_face_has_its_mesh_and_licence(self):
    face = load_network(self.folder).mean_face()
    np.testing.assert_array_equal(face.mean_shape, self.params["mean_shape"])
    np.testing.assert_array_equal(face.triangles, MORPHABLE_MODEL.triangles)
    self.assertEqual(face.provenance, MORPHABLE_MODEL.provenance)
    self.assertEqual((face.identity_dim, face.expression_dim), (0, 0))

  def test_params_that_are_not_finite(self):
    bad = self.params | {"mean_shape": np.full((120, 3), np.nan, np.float32)}
    save_network(self.folder, MODEL, bad, MORPHABLE_MODEL, phase="encoder")
    self._refused(ValueError, "finite numbers in mean_shape")


if __name__ == "__main__":
  absltest.main()
