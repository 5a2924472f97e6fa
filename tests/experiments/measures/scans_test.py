"""Scans in folders of the published layouts, whose errors are known."""

import dataclasses
import json
import pathlib

from absl.testing import absltest
import jax
import numpy as np
from PIL import Image
import scipy.spatial

from data_prep.stages.rows import (
  PhotoRow,
  manifest_path,
  read_rows,
  write_manifest,
)
from disentangle3d.faces.meshes import write_mesh
from disentangle3d.geometry import rotation_from_euler
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.training.export import load_network, save_network
from experiments.measures.scans import make_maker, measure_scans
from experiments.pages import paper_tables as paper_figures
from experiments.pages.scans import scan_rows, scan_sections
from experiments.sets import scans as scan_sets
from experiments.sets.heldout import MEAN_SHAPE, MULTI_FIT, SINGLE_FIT
from experiments.sets.meshes import read_mesh_folders
from tests.data_prep.evaluation_sets.bu3dfe_landmarks_test import (
  GROUPS,
  mesh_vertices,
)
from tests.fixtures import random_morphable_model

TURN = np.asarray(rotation_from_euler(*np.float32([0.3, -0.2, 0.1])))


def _moved(points, scale=1.0):
  return (scale * points @ TURN.T + [10, -20, 30]).astype(np.float32)


def _network(folder, fitter):
  model = FaceModel(
    trunk="tiny", identity_dim=12, residual_dim=5, num_vertices=120
  )
  params = init_params(jax.random.key(0), model, fitter)
  save_network(folder, model, params, fitter, phase="joint_reconstruction")
  return load_network(folder)


def _row(aligned, photo, landmarks=None):
  """As align_faces leaves it: a crop, and what is known of the photo."""
  photo.parent.mkdir(parents=True, exist_ok=True)
  image = np.full((112, 96, 3), 100, np.uint8)
  Image.fromarray(image).save(photo)
  name = "/".join(photo.parts[-3:]).rpartition(".")[0]
  crop = aligned / "crops" / f"{name}.png"
  crop.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(image).save(crop)
  points = np.zeros((68, 2)) if landmarks is None else landmarks
  return PhotoRow(
    image_path=photo,
    subject=photo.parent.name,
    image_id=name,
    status="ok",
    box=np.zeros(4),
    five_points=np.zeros((5, 2)),
    landmarks=points.astype(np.float32),
    visibility=np.full(68, landmarks is not None, np.float32),
    # The photo is twice as large as the crop.
    crop_from_photo=np.array([[0.5, 0, 0], [0, 0.5, 0]], np.float32),
    crop_path=crop,
  )


def _closed_model():
  """Every vertex of its mean shape is a corner of its mesh."""
  model = random_morphable_model()
  hull = scipy.spatial.ConvexHull(model.mean_shape.astype(np.float64))
  return model.replace(triangles=hull.simplices.astype(np.int32))


def _face_vertices():
  """The face of the 83 landmarks on a wavy sheet behind them."""
  x, y = (part.ravel() for part in np.mgrid[-60:61:10, -90:91:10])
  sheet = np.stack([x + 0.5, y + 0.5, 20 + 5 * np.sin(x / 9 + y / 7)], 1)
  return np.concatenate([mesh_vertices(), sheet]).astype(np.float32)


class FlorenceTest(absltest.TestCase):
  """Scan 1 is the mean shape moved, scan 2 the same a tenth larger."""

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.fitter = _closed_model()
    marks = self.fitter.landmark_vertices
    self.scans = {
      "subject_01": _moved(self.fitter.mean_shape),
      "subject_02": _moved(self.fitter.mean_shape, 1.1),
    }
    rows = []
    for subject, vertices in self.scans.items():
      folder = self.root / "Florence" / subject / "Model" / "frontal1" / "obj"
      folder.mkdir(parents=True)
      write_mesh(folder / "1109.obj", vertices, self.fitter.triangles)
      points = vertices[marks].tolist()
      (folder / "1109.ljson").write_text(
        json.dumps({"version": 2, "landmarks": {"points": points}})
      )
      flat = self.fitter.mean_shape[marks][:, :2] * [0.4, -0.4] + 50
      for frame in range(5):
        photo = self.root / "frames" / subject / "PTZ-Outdoor" / f"{frame}.png"
        # The first two frames of each were not aligned.
        row = _row(self.root / "aligned", photo, 2 * flat)
        rows += [row] if frame >= 2 else [row.rejected("no face")]
    write_manifest(manifest_path(self.root / "aligned"), rows)
    self.network = _network(self.root / "export", self.fitter)

  def _set(self, **more):
    return scan_sets.florence_set(
      self.root / "Florence",
      aligned=self.root / "aligned",
      frames=self.root / "frames",
      **more,
    )

  def test_table_2_of_known_scans(self):
    faces = self._set(photos_per_person=2)
    self.assertEqual(
      [photo.name for photo in faces.photos],
      [f"subject_0{s}/PTZ-Outdoor/{f}" for s in (1, 2) for f in (2, 4)],
    )
    self.assertIn("4 frames not aligned", faces.remarks)
    folder = self.root / "meshes" / "MICC" / "subject_02" / "PTZ-Outdoor"
    folder.mkdir(parents=True)
    # Another method found the second face exactly, in metres, once.
    exact = self.scans["subject_02"] @ TURN / 1000
    write_mesh(folder / "4.ply", exact, self.fitter.triangles)
    np.savetxt(folder / "4.txt", exact[self.fitter.landmark_vertices])
    (meshes,) = read_mesh_folders(
      [f"exact={self.root / 'meshes' / 'MICC'}"],
      self.fitter.landmark_vertices,
      self.fitter.triangles,
      120,
    )
    maker = make_maker(
      faces.photos, {"net": self.network}, fitter=self.fitter, folders=[meshes]
    )
    results = measure_scans(faces, maker, protocol_photos=2)
    mean = results.scores[MEAN_SHAPE]
    # The same shape: nothing is left but the files' rounding.
    np.testing.assert_allclose(mean.within, 0, atol=2e-3)
    np.testing.assert_allclose(mean.within_rigid[:2], 0, atol=2e-3)
    self.assertGreater(mean.within_rigid[2:].min(), 1)
    np.testing.assert_allclose(mean.identity_within, mean.within)
    # Its landmarks seen from the front, without noise: the mean shape again.
    for name in (SINGLE_FIT, MULTI_FIT):
      self.assertLess(results.scores[name].within.max(), 0.5)
    self.assertGreater(results.scores["net"].within.min(), 1e-4)
    other = results.scores["exact"].within
    np.testing.assert_array_equal(np.isnan(other), [True, True, True, False])
    self.assertAlmostEqual(other[3], 0, delta=2e-3)
    first = results.first_errors_mm
    both = "net, and the landmarks"
    self.assertEqual(
      list(first), [MEAN_SHAPE, SINGLE_FIT, MULTI_FIT, "net", both]
    )
    # The landmarks, which are right, mend what the network says.
    self.assertLess(
      results.scores[both].within.max(), results.scores["net"].within.min()
    )
    inside = np.isfinite(first["net"])
    self.assertAlmostEqual(
      np.sqrt(np.mean(first["net"][inside] ** 2)),
      results.scores["net"].within[0],
    )
    scan = self.scans["subject_01"]
    away = scan - scan[self.fitter.landmark_vertices[30]]
    np.testing.assert_array_equal(inside, np.linalg.norm(away, axis=1) <= 95)
    rows = scan_rows(results)[paper_figures.TABLE_2]
    self.assertAlmostEqual(rows["exact, MICC"][0], other[3])
    self.assertAlmostEqual(
      rows["net, MICC"][0], results.scores["net"].within.mean()
    )
    for column, values in results.table.scores[MEAN_SHAPE].items():
      rigid = "rigid" in column or column == "now_metrical"
      self.assertLess(values[0], 5e-3, column)
      self.assertEqual(values[1] < 5e-3, not rigid, column)
    titles = [
      one.title for one in scan_sections(results, [("net", MEAN_SHAPE)])
    ]
    self.assertLen(titles, 2)

  def test_without_a_model_there_are_no_fits(self):
    faces = self._set(photos_per_person=1)
    maker = make_maker(faces.photos, {"net": self.network}, fitter=None)
    self.assertEqual(maker.names, [MEAN_SHAPE, "net"])
    results = measure_scans(faces, maker, protocol_photos=0)
    np.testing.assert_allclose(results.scores[MEAN_SHAPE].within, 0, atol=2e-3)

  def test_landmarks_come_in_crop_pixels(self):
    photo = self._set().photos[0]
    flat = self.fitter.mean_shape[self.fitter.landmark_vertices][:, :2]
    np.testing.assert_allclose(
      photo.landmarks, flat * [0.4, -0.4] + 50, atol=1e-4
    )

  def test_the_detector_says_whose_jaw_is_the_silhouette(self):
    rows = read_rows(self.root / "aligned")
    for place, detector in enumerate(("mtcnn + dlib, 68", "mtcnn + fan")):
      rows[2 + place] = dataclasses.replace(rows[2 + place], detector=detector)
    write_manifest(manifest_path(self.root / "aligned"), rows)
    found = [photo.visible_contour for photo in self._set().photos]
    self.assertEqual(found, [True, False, False, False, False, False])

  def test_what_is_missing_is_named(self):
    with self.assertRaisesRegex(ValueError, "frames of Indoor.*found none"):
      self._set(scene="Indoor-Cooperative")
    for path in self.root.glob("Florence/*/*/*/*/*.ljson"):
      path.unlink()
    with self.assertRaisesRegex(ValueError, "expected .ljson landmarks"):
      self._set()


class Bu3dfeTest(absltest.TestCase):
  """One subject: neutral, and angry with the mouth 5 mm lower."""

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.folder = self.root / "BU" / "F0001"
    self.folder.mkdir(parents=True)
    self.neutral = _face_vertices()
    points = np.concatenate(list(GROUPS.values())).astype(np.float32)
    self.triangles = scipy.spatial.Delaunay(
      self.neutral[:, :2]
      + np.random.default_rng(0).normal(0, 1e-3, (len(self.neutral), 2))
    ).simplices
    self.angry = self.neutral.copy()
    self.angry[48:68, 1] -= 5
    self.assertLen(points, 83)
    rows = []
    for name, vertices in (("NE00", self.neutral), ("AN01", self.angry)):
      stem = f"F0001_{name}WH"
      self._write_scan(self.folder / f"{stem}_F3D.wrl", vertices)
      bnd = "".join(
        f"{number} {x:.5f} {y:.5f} {z:.5f}\n"
        for number, (x, y, z) in enumerate(vertices[:83])
      )
      (self.folder / f"{stem}_F3D.bnd").write_text(bnd)
      rows.append(_row(self.root / "aligned", self.folder / f"{stem}_F2D.bmp"))
    write_manifest(manifest_path(self.root / "aligned"), rows)

  def _write_scan(self, path, vertices):
    points = ", ".join(f"{x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices)
    corners = ", ".join(f"{a}, {b}, {c}, -1" for a, b, c in self.triangles)
    path.write_text(
      "#VRML V2.0 utf8\nShape { appearance Appearance { texture ImageTexture {"
      f' url "{path.stem}.bmp" }} }}\ngeometry IndexedFaceSet {{ coord'
      f" Coordinate {{ point [ {points} ] }} coordIndex [ {corners} ]\n"
      f"texCoord TextureCoordinate {{ point [ 0.5 0.5 ] }}\n"
      f"texCoordIndex [ {corners_of(self.triangles)} ] }} }}\n"
    )
    texture = np.full((4, 4, 3), [0, 200, 0], np.uint8)
    Image.fromarray(texture).save(path.with_suffix(".bmp"))

  def _network(self):
    """Its mesh has nothing to do with the scans'."""
    return _network(self.root / "export", random_morphable_model())

  def test_full_shape_and_identity_shape_have_their_own_truth(self):
    faces = scan_sets.bu3dfe_set(
      self.root / "BU", aligned=self.root / "aligned"
    )
    self.assertEqual([p.condition for p in faces.photos], ["AN", "NE"])
    marks = {
      photo.condition: scan_sets.load_scan(photo.scan).landmarks
      for photo in faces.photos
    }
    # A method that finds each face exactly, but never the neutral one of AN.
    for photo, vertices in zip(
      faces.photos, (self.angry, self.neutral), strict=True
    ):
      path = self.root / "meshes" / photo.name
      path.parent.mkdir(parents=True, exist_ok=True)
      for end in ("", "_identity"):
        stem = path.with_name(path.name + end)
        write_mesh(
          stem.with_name(stem.name + ".ply"), _moved(vertices), self.triangles
        )
      np.savetxt(
        path.with_name(path.name + ".txt"), _moved(marks[photo.condition])
      )
      np.savetxt(
        path.with_name(path.name + "_identity.txt"),
        _moved(marks[photo.condition]),
      )
    network = self._network()
    (meshes,) = read_mesh_folders(
      [f"it={self.root / 'meshes'}"],
      network.landmark_vertices,
      network.triangles,
      120,
    )
    maker = make_maker(
      faces.photos, {"net": network}, fitter=None, folders=[meshes]
    )
    maker = dataclasses.replace(maker, methods={})
    results = measure_scans(faces, maker, protocol_photos=2)
    scores = results.scores["it"]
    np.testing.assert_allclose(scores.within_rigid, 0, atol=1e-3)
    self.assertGreater(scores.identity_within_rigid[0], 0.3)
    self.assertAlmostEqual(scores.identity_within_rigid[1], 0, delta=1e-3)
    rows = scan_rows(results)
    self.assertAlmostEqual(
      rows[paper_figures.FIGURE_6]["it, BU-3DFE"][0], 0, delta=1e-3
    )
    self.assertAlmostEqual(
      rows[paper_figures.FIGURE_7]["it, BU-3DFE"][0],
      np.mean(scores.identity_within),
    )
    for column, values in results.table.scores["it"].items():
      self.assertLess(np.max(values), 5e-3, column)
    scan_sections(results, [])

  def test_table_1_renders_the_neutral_scans(self):
    faces = scan_sets.bu3dfe_yaw_set(self.root / "BU")
    self.assertEqual(
      [int(photo.condition) for photo in faces.photos], list(range(-90, 91, 10))
    )
    self.assertEqual(faces.photos[0].name, "F0001/F0001_NE00WH_F3D_yaw-90")
    self.assertIn("1 scans with their texture, 0 in", faces.remarks)
    front = faces.photos[9]
    red, green, blue = front.image.reshape(-1, 3).T.astype(int)
    self.assertGreater(np.mean(green > 1.5 * np.maximum(red, blue)), 0.2)
    network = self._network()
    maker = make_maker(faces.photos, {"net": network}, fitter=None)
    rows = scan_rows(measure_scans(faces, maker, protocol_photos=0))[
      paper_figures.TABLE_1
    ]
    self.assertLen(
      rows["net, BU-3DFE-rendered"], len(paper_figures.YAW_DEG) + 1
    )

  def test_another_folder_is_named(self):
    (self.folder / "F0001_NE00WH_F3D.bnd").unlink()
    with self.assertRaisesRegex(
      ValueError, "expected neutral scans with landm"
    ):
      scan_sets.bu3dfe_yaw_set(self.root / "BU")


def corners_of(triangles):
  return ", ".join("0, 0, 0, -1" for _ in triangles)


if __name__ == "__main__":
  absltest.main()
