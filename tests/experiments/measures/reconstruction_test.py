"""Tables of reconstructions: meshes of other methods, missing numbers."""

import dataclasses
import pathlib
import types

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.datasets import synthetic_set
from disentangle3d.evaluation.scans import make_scan, scan_of
from disentangle3d.evaluation.shape_scores import ShapeScores
from disentangle3d.faces.meshes import write_mesh
from experiments.measures.reconstruction import SetResults, mesh_errors
from experiments.pages.paper_tables import (
  FIGURE_6,
  FIGURE_7,
  TABLE_1,
  TABLE_2,
  YAW_DEG,
)
from experiments.pages.reconstruction import paper_rows, set_sections
from experiments.sets import meshes as mesh_folders
from experiments.sets import networks as evaluated_networks
from experiments.sets.synthetic import EXPRESSION, OUTDOOR, YAW
from tests.fixtures import random_morphable_model


class MeshFoldersTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.model = random_morphable_model()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    (self.folder / "p").mkdir()
    self.meshes = self._read([f"3DDFA={self.folder}"])[0]
    self.shape = self.model.mean_shape

  def _read(self, named):
    return mesh_folders.read_mesh_folders(
      named, self.model.landmark_vertices, self.model.triangles, 120
    )

  def test_a_mesh_of_the_models_topology_has_its_landmarks(self):
    write_mesh(self.folder / "p/a.obj", self.shape, self.model.triangles)
    scan = mesh_folders.read_prediction(self.meshes, "p/a")
    self.assertTrue(mesh_folders.corresponds(self.meshes, scan))
    np.testing.assert_allclose(
      scan.landmarks, self.shape[self.model.landmark_vertices], atol=1e-3
    )
    self.assertIsNone(mesh_folders.read_prediction(self.meshes, "p/b"))
    self.assertIsNone(
      mesh_folders.read_prediction(self.meshes, "p/a", identity=True)
    )

  @parameterized.parameters("txt", "npy")
  def test_another_topology_brings_its_own_landmarks(self, suffix):
    triangles = self.model.triangles % 90
    write_mesh(self.folder / "p/a.ply", self.shape[:90], triangles)
    with self.assertRaisesRegex(ValueError, r"a.ply: expected 120 .* got 90"):
      mesh_folders.read_prediction(self.meshes, "p/a")
    points = np.arange(204.0).reshape(68, 3)
    if suffix == "npy":
      np.save(self.folder / "p/a.npy", points)
    else:
      np.savetxt(self.folder / "p/a.txt", points)
    scan = mesh_folders.read_prediction(self.meshes, "p/a")
    self.assertFalse(mesh_folders.corresponds(self.meshes, scan))
    np.testing.assert_array_equal(scan.landmarks, points)

  def test_flags_and_landmarks_that_are_wrong_are_named(self):
    write_mesh(self.folder / "p/a.obj", self.shape, self.model.triangles)
    np.savetxt(self.folder / "p/a.txt", np.zeros((7, 3)))
    with self.assertRaisesRegex(ValueError, r"a.txt: .*\[68, 3\].*\[7, 3\]"):
      mesh_folders.read_prediction(self.meshes, "p/a")
    for named, message in (
      (["=x"], "NAME=PATH"),
      ([f"a={self.folder}", f"a={self.folder}"], "different names"),
      (["a=/nowhere"], "/nowhere: no such folder"),
    ):
      with self.assertRaisesRegex((ValueError, OSError), message):
        self._read(named)

  def test_correspondence_is_stricter_than_nearest_points(self):
    marks = self.model.landmark_vertices
    moved = self.shape + np.random.default_rng(0).normal(size=(120, 3))
    truth = scan_of(self.shape, self.model.triangles, marks)
    made = scan_of(moved, self.model.triangles, marks)
    nearest = make_scan(moved, self.model.triangles, moved[marks])
    by_vertex, by_point = (
      mesh_errors(made, truth, marks),
      mesh_errors(nearest, truth, None),
    )
    self.assertLess(by_point[0], by_vertex[0])
    self.assertLess(max(mesh_errors(truth, truth, marks)), 1e-4)


def _results(name, scores, **photos):
  photos = types.SimpleNamespace(**photos)
  count = len(photos.person)
  heldout = types.SimpleNamespace(photos=photos, num_photos=count)
  return SetResults(name, heldout, scores, {}, None)


def _scores(within):
  within = np.asarray(within, np.float64)
  return ShapeScores(*[within] * 6)


class SectionsTest(absltest.TestCase):
  def test_table_1_takes_both_sides_together_and_leaves_gaps(self):
    yaw_deg = np.concatenate([np.arange(-90, 91, 10)] * 2)
    errors = 1 + np.abs(yaw_deg) / 90 + np.repeat([0, 0.5], 19)
    gaps = np.where(np.abs(yaw_deg) > 50, np.nan, errors)
    results = _results(
      YAW,
      {"it": _scores(errors), "gaps": _scores(gaps)},
      person=np.repeat([0, 1], 19),
      yaw_rad=np.radians(yaw_deg),
    )
    rows = paper_rows(results)[TABLE_1]
    np.testing.assert_allclose(
      rows["it, synthetic_yaw"][:-1], 1.25 + np.array(YAW_DEG) / 90
    )
    self.assertEqual(rows["gaps, synthetic_yaw"][:4], (None,) * 4)
    self.assertAlmostEqual(
      rows["gaps, synthetic_yaw"][-1], 1.25 + np.mean([0, 1, 2, 3, 4, 5]) / 9
    )
    blocks = set_sections(results, [("it", "it")])[0].blocks
    self.assertEqual(blocks[1].rows, [("it − it", *["0.00 [0.00, 0.00]"] * 2)])
    self.assertEqual([row[-1] for row in blocks[0].rows], [38, 22])

  def test_expressions_count_the_same_and_outdoor_is_a_mean(self):
    kinds = np.array([0, 0, 0, 1, 2, 3, 4, 5])
    errors = np.where(kinds == 0, 1.0, 2.0)
    photos = {"person": np.arange(8), "yaw_rad": np.zeros(8)}
    results = _results(
      EXPRESSION, {"it": _scores(errors)}, expression_class=kinds, **photos
    )
    rows = paper_rows(results)
    for key in (FIGURE_6, FIGURE_7):
      self.assertAlmostEqual(rows[key][f"it, {EXPRESSION}"][0], 11 / 6)
    results = dataclasses.replace(results, name=OUTDOOR)
    self.assertEqual(paper_rows(results)[TABLE_2][f"it, {OUTDOOR}"], (13 / 8,))


class NetworkFlagsTest(parameterized.TestCase):
  @parameterized.parameters("=x", "x=")
  def test_what_is_no_name_and_path_is_refused(self, value):
    with self.assertRaisesRegex(ValueError, "--network: expected NAME=PATH"):
      evaluated_networks.read_networks([value])

  def test_photographs_are_no_synthetic_dataset(self):
    with self.assertRaisesRegex(ValueError, "render_synthetic"):
      synthetic_set.settings_of({"created": {"settings": {}}}, "folder")


if __name__ == "__main__":
  absltest.main()
