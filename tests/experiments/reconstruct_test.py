"""Files of reconstructed faces against faces whose camera is known."""

import dataclasses
import json
import pathlib
import tempfile
from unittest import mock
import weakref

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from data_prep.photos.loose_photos import LoosePhoto, list_files, read_photos
from disentangle3d.faces.meshes import read_mesh
from disentangle3d.faces.morphable_model import (
  flatten_basis,
  landmark_points,
  synthesize_shape,
  without_modes,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.fitting import batched_fitting
from disentangle3d.fitting.landmark_fitting import FitOptions, fit_landmarks
from disentangle3d.geometry import five_points, project
from disentangle3d.inference import encode
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.training.export import load_network, save_network
from disentangle3d.types import LATENT_SCALE, UserError
from experiments.photographs import reconstruction
from experiments.photographs.cameras import photo_cameras
from experiments.photographs.landmarks import camera_source, crop_landmarks
from experiments.photographs.reconstruction import Options, reconstruct_photos
from experiments.photographs.shapes import (
  fit_maker,
  network_maker,
  refined_maker,
)
from tests.experiments.known_faces import (
  SIZE,
  Crowd,
  KnownFaces,
  camera_of,
  content_of,
  gradient_photo,
  killed_after,
  result_of,
  save,
)
from tests.fixtures import random_calibration

MODEL = FaceModel("tiny", identity_dim=8, residual_dim=4, num_vertices=600)


class ReconstructTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.basis = procedural_face_model(
      num_vertices=600, identity_dim=8, expression_dim=4
    )
    params = init_params(jax.random.key(0), MODEL, cls.basis)
    scratch = tempfile.TemporaryDirectory()
    cls.addClassCleanup(scratch.cleanup)
    cls.scratch = pathlib.Path(scratch.name)
    save_network(cls.scratch / "net", MODEL, params, cls.basis, phase="test")
    cls.export = load_network(cls.scratch / "net")
    cls.maker = network_maker(cls.export)
    mean = jnp.asarray(cls.basis.mean_shape)
    points = landmark_points(cls.basis, mean)
    cls.landmarks = [
      np.asarray(project(camera_of(n), points)) for n in range(3)
    ]
    save(cls.scratch / "photos" / "1.png", gradient_photo(0))
    save(cls.scratch / "photos" / "2.png", np.full((*SIZE, 3), 255, np.uint8))
    save(cls.scratch / "photos" / "10.png", gradient_photo(1))
    (cls.scratch / "photos" / "3.jpg").write_text("no image")
    (cls.scratch / "photos" / "notes.txt").write_text("passed over")
    cls.output = cls.scratch / "out"
    cls.count = cls.run_on(cls.scratch / "photos", cls.output, hidden=(1,))

  @classmethod
  def run_on(
    cls, photos, output, *, maker=None, finder=KnownFaces, hidden=(), **options
  ):
    found = list_files([str(photos)])
    return reconstruct_photos(
      found.files,
      output,
      maker or cls.maker,
      finder(cls.landmarks, hidden=hidden),
      Options(formats=("ply",), **options),
      passed_over=found.passed_over,
    )

  def test_camera_landmarks_and_colours_are_the_photos(self):
    result = result_of(self.output / "1")
    truth = camera_of(0)
    # The fresh decoders add hundredths of a millimetre to the mean shape.
    self.assertAlmostEqual(
      result["camera"]["scale_px_per_mm"], float(truth.scale), places=3
    )
    np.testing.assert_allclose(
      result["camera"]["rotation"], truth.rotation, atol=2e-3
    )
    np.testing.assert_allclose(
      result["projected_landmarks"], self.landmarks[0], atol=0.1
    )
    np.testing.assert_allclose(
      result["camera"]["yaw_pitch_roll_degrees"],
      np.degrees([0.2, 0.1, 0.0]),
      atol=0.2,
    )
    mesh = read_mesh(self.output / "1/face1/shape.ply")
    spot = np.asarray(project(truth, jnp.asarray(mesh.vertices)))
    marks = np.asarray(self.basis.landmark_vertices)[[30, 33, 8]]
    np.testing.assert_allclose(
      mesh.colors[marks, :2], spot[marks] / 2, atol=1.5
    )
    overlay = np.asarray(Image.open(self.output / "1/face1/overlay.png"))
    self.assertEqual(overlay.shape, (*SIZE, 3))
    changed = np.any(overlay != gradient_photo(0), -1)
    nose = self.landmarks[0][30].astype(int)
    self.assertTrue(changed[nose[1], nose[0]])
    self.assertFalse(changed[:20].any())

  def test_cameras_are_of_where_the_detector_marks(self):
    calibration = random_calibration(self.basis)
    face = self.basis.replace(landmark_calibration=calibration)
    maker = network_maker(self.export, without_modes(face))
    points = landmark_points(face, jnp.asarray(face.mean_shape))
    landmarks = [np.asarray(project(camera_of(0), points))]
    found = [KnownFaces(landmarks).face(LoosePhoto("1", gradient_photo(0)), 0)]
    codes = maker.encode(found)
    got = photo_cameras(maker, codes, found)
    truth = camera_of(0)
    self.assertAlmostEqual(float(got.scale[0]), float(truth.scale), places=3)
    np.testing.assert_allclose(got.rotation[0], truth.rotation, atol=2e-3)
    # By the vertices it would be another.
    plain = photo_cameras(self.maker, codes, found)
    self.assertGreater(np.abs(plain.rotation[0] - truth.rotation).max(), 0.01)

  def test_depth_and_normals_are_the_meshs(self):
    depth = np.load(self.output / "1/face1/depth.npy")
    result = result_of(self.output / "1")
    mesh = read_mesh(self.output / "1/face1/shape.ply")
    nose = np.asarray(self.basis.landmark_vertices)[30]
    matrix = np.array(result["maps"]["map_from_photo"])
    column, row = np.round(matrix @ [*self.landmarks[0][30], 1]).astype(int)
    expected = np.array(result["camera"]["rotation"])[2] @ mesh.vertices[nose]
    self.assertAlmostEqual(depth[row, column], expected, delta=1.5)
    png = np.asarray(Image.open(self.output / "1/face1/depth.png"))
    self.assertAlmostEqual(
      (int(png[row, column]) - 32768) * 0.01, depth[row, column], delta=0.006
    )
    self.assertTrue(np.isnan(depth[0, 0]))
    self.assertEqual(png[0, 0], 0)
    normals = np.asarray(Image.open(self.output / "1/face1/normals.png"))
    length = np.linalg.norm(normals[np.isfinite(depth)] / 127.5 - 1, axis=-1)
    np.testing.assert_allclose(length, 1, atol=0.03)
    # The nose points at the viewer.
    self.assertGreater(normals[row, column, 2], 200)

  def test_every_photo_is_told_of(self):
    self.assertEqual(self.count, 2)
    results = json.loads((self.output / "results.json").read_text())
    self.assertEqual(
      results["passed_over"], {str(self.scratch / "photos"): {".txt": 1}}
    )
    rows = results["photos"]
    self.assertEqual(
      [(pathlib.Path(r["photo"]).name, r["faces"], r["reason"]) for r in rows],
      [
        ("1.png", ["1/face1"], ""),
        ("2.png", [], "no face found"),
        ("3.jpg", [], "cannot be read as an image"),
        ("10.png", ["10/face1"], ""),
      ],
    )

  def test_without_any_points_there_is_no_overlay_and_it_is_said(self):
    result = result_of(self.output / "10")
    self.assertIsNone(result["camera"])
    self.assertIn("no landmarks: no camera, so no overlay", str(result))
    folder = self.output / "10/face1"
    self.assertFalse((folder / "overlay.png").exists())
    self.assertIsNone(read_mesh(folder / "shape.ply").colors)
    self.assertTrue(np.isfinite(np.load(folder / "depth.npy")).any())

  def test_five_points_give_a_camera_where_there_are_no_landmarks(self):
    found = KnownFaces(self.landmarks).face(
      LoosePhoto("1", gradient_photo(0)), 0
    )
    five = np.asarray(five_points(found.landmarks))
    hidden = {"landmarks": None, "visibility": np.zeros(68, np.float32)}
    few = dataclasses.replace(found, five_points=five, **hidden)
    none = dataclasses.replace(found, **hidden)
    faces = [found, few, none]
    self.assertEqual(
      [camera_source(face) for face in faces],
      ["68 landmarks", "five points", None],
    )
    got = photo_cameras(self.maker, self.maker.encode(faces), faces)
    truth = camera_of(0)
    for row in (0, 1):
      np.testing.assert_allclose(got.scale[row], truth.scale, rtol=1e-2)
      np.testing.assert_allclose(got.rotation[row], truth.rotation, atol=0.02)
    np.testing.assert_allclose(got.rotation[2][2], [0, 0, 1], atol=1e-5)

  def test_only_what_is_asked_is_written(self):
    output = self.scratch / "asked"
    self.run_on(
      self.scratch / "photos/1.png",
      output,
      outputs=("overlay",),
      overlay_side=170,
    )
    names = sorted(path.name for path in (output / "1/face1").iterdir())
    self.assertEqual(names, ["overlay.png", "result.json"])
    self.assertEqual(result_of(output / "1")["files"], ["overlay.png"])
    overlay = np.asarray(Image.open(output / "1/face1/overlay.png"))
    self.assertEqual(overlay.shape, (150, 170, 3))
    # It is the whole one at half its size, but for the faces' edges.
    whole = np.asarray(Image.open(self.output / "1/face1/overlay.png"))
    half = whole.reshape(150, 2, 170, 2, 3).mean((1, 3))
    apart = np.abs(overlay - half).max(-1)
    self.assertLess(np.mean(apart > 12), 0.02)

  def test_pooled_photos_share_the_weighted_mean_identity(self):
    photos, output = self.scratch / "one_person", self.scratch / "pooled"
    for number in range(3):
      save(photos / f"{number}.png", gradient_photo(number))
    self.run_on(photos, output, pool=True)
    crops = np.stack(
      [np.asarray(Image.open(output / f"{n}/face1/crop.png")) for n in range(3)]
    )
    codes = encode(self.export.params, crops, model=MODEL)
    # All three faces are larger than the crop, so sharpness is 1.
    expected = np.average(codes.identity, axis=0, weights=[1, 0.5, 0.5])
    for row in range(3):
      latents = result_of(output / str(row))["latents"]
      np.testing.assert_allclose(latents["identity"], expected, atol=1e-5)
      np.testing.assert_allclose(
        latents["residual"], codes.residual[row], atol=1e-5
      )

  def test_two_people_of_a_film_are_smoothed_apart(self):
    film, output = self.scratch / "film", self.scratch / "smoothed"
    for number in range(3):
      save(film / f"{number}.png", gradient_photo(number))
    self.assertEqual(self.run_on(film, output, finder=Crowd, smooth=1.5), 6)
    results = [
      json.loads((output / f"{frame}/face{n}/result.json").read_text())
      for frame in range(3)
      for n in (1, 2)
    ]
    tracks = [result["track"] for result in results]
    self.assertEqual(tracks, [0, 1, 1, 0, 0, 1])
    crops = np.stack(
      [
        np.asarray(Image.open(output / f"{frame}/face{n}/crop.png"))
        for frame in range(3)
        for n in (1, 2)
      ]
    )
    codes = encode(self.export.params, crops, model=MODEL)
    apart = np.subtract.outer(np.arange(3), np.arange(3)) / 1.5
    weights = np.exp(-(apart**2) / 2)
    weights /= weights.sum(1, keepdims=True)
    for track in (0, 1):
      rows = [row for row in range(6) if tracks[row] == track]
      made = [results[row]["latents"]["residual"] for row in rows]
      expected = weights @ np.asarray(codes.residual)[rows]
      np.testing.assert_allclose(made, expected, atol=1e-5)
      places = [results[row]["camera"]["translation_px"][0] for row in rows]
      truth = [-80, -79, -78] if track == 0 else [70, 69, 68]
      truth = weights @ (
        np.array(truth) + float(camera_of(track).translation[0])
      )
      np.testing.assert_allclose(places, truth, atol=0.1)

  @pytest.mark.slow
  def test_the_fit_finds_the_mean_shape_behind_its_landmarks(self):
    photos, output = self.scratch / "three", self.scratch / "fitted"
    for number in range(3):
      save(photos / f"{number}.png", gradient_photo(number))
    self.run_on(
      photos, output, maker=fit_maker(self.basis), hidden=(2,), pool=True
    )
    result = result_of(output / "0")
    self.assertEqual(result["method"], "fit")
    alpha = result["latents"]["identity_coefficients"]
    self.assertLess(np.abs(alpha).max(), 0.1)
    other = result_of(output / "1")["latents"]
    self.assertEqual(alpha, other["identity_coefficients"])
    rows = json.loads((output / "results.json").read_text())["photos"]
    self.assertEqual(rows[2]["reason"], "no 68 landmarks to fit")

  def test_a_network_is_refined_by_the_landmarks_about_its_identity(self):
    # Decoders that are a 3DMM's modes: the network's face is another person's.
    rng = np.random.default_rng(2)
    params = init_params(jax.random.key(1), MODEL, self.basis)
    for name, basis in (
      ("identity_decoder", self.basis.identity_basis),
      ("residual_decoder", self.basis.expression_basis),
    ):
      params[name] = {"kernel": LATENT_SCALE * flatten_basis(basis)}
    network = self.export.replace(params=params)
    truth = synthesize_shape(self.basis, rng.normal(size=8), rng.normal(size=4))
    points = landmark_points(self.basis, truth)
    landmarks = [np.asarray(project(camera_of(n), points)) for n in range(3)]
    finder = KnownFaces(landmarks, hidden=(2,))
    found = [
      finder.face(LoosePhoto("1", gradient_photo(n)), n) for n in range(3)
    ]
    plain, refined = network_maker(network), refined_maker(network)
    said, codes = plain.encode(found), refined.encode(found)

    in_crop, seen = crop_landmarks(found)
    expected = fit_landmarks(
      self.basis,
      in_crop[:, None],
      seen[:, None],
      options=FitOptions(identity_std=0.5, expression_std=0.5),
      identity_mean=jnp.asarray(3 * said.identity),
      expression_mean=jnp.asarray(3 * said.residual[:, None]),
    )
    np.testing.assert_allclose(
      codes.identity[:2], expected.identity_coefficients[:2], atol=1e-3
    )
    np.testing.assert_allclose(
      codes.residual[:2], expected.expression_coefficients[:2, 0], atol=1e-3
    )
    # Without landmarks it is what the network says.
    np.testing.assert_allclose(codes.identity[2], 3 * said.identity[2])
    np.testing.assert_allclose(codes.residual[2], 3 * said.residual[2])

    def away(maker, codes):
      cameras = photo_cameras(maker, codes, found)
      shapes, _ = maker.decode(codes.identity, codes.residual)
      seen = project(cameras, landmark_points(self.basis, shapes))
      return np.linalg.norm(
        np.asarray(seen)[:2] - landmarks[:2], axis=-1
      ).mean()

    self.assertLess(away(refined, codes), 0.5 * away(plain, said))
    # Of one person: the mean identity, expressions fitted again.
    pooled = refined.pool(found, codes)
    mean = np.average(codes.identity, axis=0, weights=[1, 0.5, 0.5])
    np.testing.assert_allclose(pooled.identity, np.stack([mean] * 3), rtol=1e-5)
    self.assertGreater(np.abs(pooled.residual - codes.residual)[:2].max(), 1e-3)

  @pytest.mark.slow
  def test_one_program_fits_any_number_of_faces(self):
    finder = KnownFaces(self.landmarks)
    faces = [
      finder.face(LoosePhoto("1", gradient_photo(n)), n) for n in (0, 1, 2)
    ]
    maker = fit_maker(self.basis)
    before = batched_fitting._fit_batch._cache_size()
    together, alone = maker.encode(faces), maker.encode(faces[1:2])
    self.assertEqual(batched_fitting._fit_batch._cache_size() - before, 1)
    np.testing.assert_array_equal(together.identity[1], alone.identity[0])

  def test_a_killed_run_goes_on_and_ends_in_the_same_files(self):
    photos = self.scratch / "many"
    for number in range(3):
      save(photos / f"{number}.png", gradient_photo(number))
    save(photos / "1b.png", np.full((*SIZE, 3), 255, np.uint8))
    for name, options in (
      ("each", {"viewer": True}),
      ("film", {"smooth": 1.0, "finder": Crowd, "viewer": True}),
      ("pool", {"pool": True}),
    ):
      whole, output = self.scratch / f"{name}_whole", self.scratch / name
      self.run_on(photos, whole, **options)
      # At one more file, or photo looked at, it is over.
      for moment in (1, 14):
        with self.subTest(f"{name} {moment}"), killed_after(moment):
          with self.assertRaises(KeyboardInterrupt):
            self.run_on(photos, output, **options)
        (output / "2" / ".face1.0f.partial").mkdir(parents=True, exist_ok=True)
        with (output / ".work" / "rows.jsonl").open("a") as rows:
          rows.write('{"photo": "cut o')
      self.assertTrue((output / "0" / "face1" / "result.json").is_file())
      self.run_on(photos, output, **options)
      self.assertEqual(content_of(output), content_of(whole))

  def test_a_run_goes_on_as_it_was_begun_only(self):
    photos, output = self.scratch / "photos", self.scratch / "begun"
    with killed_after(3), self.assertRaises(KeyboardInterrupt):
      self.run_on(photos, output)
    with self.assertRaisesRegex(
      UserError, "begun: begun with largest False, got True; take the same"
    ):
      self.run_on(photos, output, largest=True)
    with self.assertRaisesRegex(UserError, "begun: begun with photos 4 files"):
      self.run_on(photos / "1.png", output)
    self.assertEqual(self.run_on(photos, output, hidden=(1,)), 2)
    self.assertEqual(content_of(output), content_of(self.output))
    with self.assertRaisesRegex(UserError, "expected a new or an empty folder"):
      self.run_on(photos, output, largest=True)
    # Killed at its very end, or started again: all is there.
    self.assertEqual(self.run_on(photos, output), 2)
    self.assertEqual(content_of(output), content_of(self.output))
    # Not so with another locator, or another photo of the name.
    with mock.patch.object(KnownFaces, "locator", "other"):
      with self.assertRaisesRegex(UserError, "expected a new or an empty"):
        self.run_on(photos, output)
    photo = self.scratch / "touched.png"
    save(photo, gradient_photo(0))
    self.run_on(photo, self.scratch / "touched")
    photo.touch()
    with self.assertRaisesRegex(UserError, "expected a new or an empty"):
      self.run_on(photo, self.scratch / "touched")

  def test_few_photos_are_in_memory_however_many_there_are(self):
    photos = self.scratch / "long"
    for number in range(8):
      save(photos / f"{number}.png", gradient_photo(number % 3))
    for name, options in (("each", {}), ("film", {"smooth": 1.0})):
      alive, most = 0, 0

      def gone():
        nonlocal alive
        alive -= 1

      def watched(*arguments, **named):
        nonlocal alive, most
        for photo in read_photos(*arguments, **named):
          alive += 1
          most = max(most, alive)
          weakref.finalize(photo, gone)
          yield photo
          del photo

      with (
        mock.patch.object(reconstruction, "_CHUNK", 2),
        mock.patch.object(reconstruction, "read_photos", watched),
      ):
        output = self.scratch / f"long_{name}"
        self.run_on(photos, output, hidden=(0, 1, 2), **options)
      # Two that are written, two that are looked at, and the next one.
      self.assertLessEqual(most, 2 * 2 + 1)

  def test_no_face_at_all_leaves_nothing(self):
    photos, output = self.scratch / "empty", self.scratch / "nothing"
    save(photos / "1.png", np.full((*SIZE, 3), 255, np.uint8))
    with self.assertRaisesRegex(
      ValueError, "no face in any of 1 .*1.png: no f"
    ):
      self.run_on(photos, output)
    self.assertFalse(output.exists())


if __name__ == "__main__":
  absltest.main()
