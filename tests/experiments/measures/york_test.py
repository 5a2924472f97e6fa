"""Scans of the published layout whose distance to each method is known."""

import dataclasses
import importlib.util
import pathlib
import tempfile
import unittest

from absl.testing import absltest
import numpy as np

from disentangle3d.evaluation.scan_protocols import scan_error
from disentangle3d.evaluation.scans import scan_of
from disentangle3d.evaluation.shape_scores import Method
from disentangle3d.evaluation.side_by_side import (
  OUTLINE_MEDIAN,
  OUTLINE_RMSE,
  SPHERE_RMSE,
)
from disentangle3d.faces.meshes import write_mesh
from disentangle3d.types import UserError
from experiments.evaluations.york import YorkTest, evaluate_york
from experiments.measures.scans import Maker, make_maker
from experiments.measures.york import (
  BOUND,
  NEARER,
  eos_shapes,
  identity_nearer,
  measure_york,
  measure_york_yaw,
)
from experiments.pages.paper_tables import FIGURE_6, TABLE_1, TABLE_2
from experiments.pages.york import consistency_table, york_yaw_rows
from experiments.sets.alignment import PhotoSource
from experiments.sets.heldout import MEAN_SHAPE
from experiments.sets.meshes import read_mesh_folders
from experiments.sets.york import YORK, york_set, york_yaw_set
from tests.data_prep.evaluation_sets.york_layout import (
  DEVELOPMENT,
  grid_model,
  names_of,
  scanned,
  write_aligned,
  write_york,
)

_BUMP_MM = 6.0
_NAMES = names_of(DEVELOPMENT[:2])


class YorkMeasureTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.root = pathlib.Path(
      cls.enterClassContext(tempfile.TemporaryDirectory())
    )
    cls.folder, cls.aligned = cls.root / "scans", cls.root / "aligned"
    # The first person is the mean, the second has a bump.
    scans = [scanned(bump) for bump in (0.0, 0.0, _BUMP_MM, _BUMP_MM)]
    write_york(cls.folder, dict(zip(_NAMES, scans, strict=True)))
    # Without landmarks to fit, which takes long to compile; `scans_test` does.
    write_aligned(cls.aligned, cls.folder, _NAMES, visible=False)
    cls.faces = york_set([cls.folder], aligned=cls.aligned, split="development")
    cls.model = grid_model()
    # libigl complains of what is alive when Python ends.
    cls.addClassCleanup(delattr, cls, "faces")

  def test_the_set_has_photos_scans_and_what_was_left_out(self):
    self.assertEqual([photo.name for photo in self.faces.photos], _NAMES)
    self.assertEqual(self.faces.rejected, {})
    np.testing.assert_array_equal(self.faces.people, [0, 0, 1, 1])
    two = york_set(
      [self.folder], aligned=self.aligned, split="development", people=1
    )
    self.assertLen(two.photos, 2)

  def test_the_mean_shape_is_wrong_by_the_bump(self):
    median, rmse = self._errors_of_the_mean_shape()
    self.assertLess(rmse[:2].max(), 0.2)
    self.assertBetween(rmse[2:].min(), 0.6, _BUMP_MM / 2)
    self.assertTrue((median < rmse).all())
    self.assertTrue((median[2:] > median[:2]).all())

  def _errors_of_the_mean_shape(self):
    """Median and root mean square of each scan's distances, mm."""
    mean = scan_of(
      np.asarray(self.model.mean_shape),
      np.asarray(self.model.triangles),
      np.asarray(self.model.landmark_vertices),
    )
    errors = [
      scan_error(mean, photo.scan, protocol="outline")
      for photo in self.faces.photos
    ]
    return np.array([(error.score_mm, error.rmse_mm) for error in errors]).T

  def test_every_method_under_every_protocol(self):
    other = self.root / "other" / YORK
    for name, photo in zip(_NAMES[2:], self.faces.photos[2:], strict=True):
      path = other / f"{name}.obj"
      path.parent.mkdir(parents=True, exist_ok=True)
      surface = photo.scan.surface
      write_mesh(path, surface.vertices.astype(np.float32), surface.triangles)
      np.savetxt(path.with_suffix(".txt"), photo.scan.landmarks)
    folders = read_mesh_folders(
      [f"other={other}"],
      np.asarray(self.model.landmark_vertices),
      np.asarray(self.model.triangles),
      self.model.num_vertices,
    )
    maker = make_maker(
      self.faces.photos, {}, fitter=self.model, folders=folders
    )
    results = measure_york(self.faces, maker, fitter=self.model)
    scores = results.table.scores
    names = [MEAN_SHAPE, "other"]
    names += [NEARER, BOUND]
    self.assertEqual(list(scores), names)
    rmse = {name: columns[OUTLINE_RMSE] for name, columns in scores.items()}
    self.assertLess(rmse[BOUND].max(), 0.25)
    self.assertTrue((rmse[BOUND][2:] < 0.4 * rmse[MEAN_SHAPE][2:]).all())
    self.assertTrue((rmse[NEARER][2:] < rmse[MEAN_SHAPE][2:]).all())
    self.assertTrue((rmse[NEARER][2:] > rmse[BOUND][2:]).all())
    np.testing.assert_array_equal(np.isnan(rmse["other"]), [1, 1, 0, 0])
    self.assertLess(rmse["other"][2:].max(), 1e-3)
    mean, _ = self._errors_of_the_mean_shape()
    np.testing.assert_array_equal(scores[MEAN_SHAPE][OUTLINE_MEDIAN], mean)
    np.testing.assert_array_equal(
      results.identity_rmse_mm[MEAN_SHAPE], rmse[MEAN_SHAPE]
    )
    for bound, bump in zip(results.bounds, [0, 0, 2, 2], strict=True):
      self.assertTrue(bound.converged)
      self.assertAlmostEqual(bound.coefficients[0], bump, delta=0.25)
    for distance, photo in zip(
      results.table.outline_mm[MEAN_SHAPE], self.faces.photos, strict=True
    ):
      np.testing.assert_array_equal(np.isfinite(distance), photo.scan.outline)

  def test_a_folder_without_any_of_the_meshes_is_told_at_once(self):
    (self.root / "none").mkdir()
    folders = read_mesh_folders(
      [f"none={self.root / 'none'}"],
      np.asarray(self.model.landmark_vertices),
      np.asarray(self.model.triangles),
      self.model.num_vertices,
    )
    test = YorkTest(
      sources=[str(self.folder)],
      split="development",
      crops=PhotoSource("york", aligned=str(self.aligned)),
    )
    with self.assertRaisesRegex(UserError, f"none/{YORK}.*{_NAMES[0]}.obj"):
      list(evaluate_york(test, {}, self.model, folders))

  def test_identity_shapes_of_one_person_are_the_nearer_ones(self):
    photos = [
      dataclasses.replace(photo, subject=f"person {number}")
      for number in range(11)
      for photo in self.faces.photos[:2]
    ]
    faces = dataclasses.replace(self.faces, photos=photos)
    mean = np.asarray(self.model.mean_shape)
    bump = np.asarray(self.model.identity_basis[..., 0])

    def known(data, rows):
      del data
      identity = mean + (np.asarray(rows) // 2)[:, None, None] * bump
      return mean + 0 * identity, identity

    def mean_only(data, rows):
      del data
      return (np.broadcast_to(mean, (len(rows), *mean.shape)),) * 2

    maker = Maker(
      methods={MEAN_SHAPE: Method(mean_only, ()), "known": Method(known, ())},
      folders=(),
      triangles=np.asarray(self.model.triangles),
      landmark_vertices=np.asarray(self.model.landmark_vertices),
    )
    nearer = identity_nearer(faces, maker)
    self.assertEqual(list(nearer), ["known"])
    np.testing.assert_array_equal(nearer["known"], np.ones(22))
    table = consistency_table(
      nearer | {"none": np.full(22, np.nan)}, faces.people
    )
    self.assertEqual(
      table.rows, [("known", "100.00 [100.00, 100.00]", 22), ("none", "–", 0)]
    )

  @unittest.skipUnless(
    importlib.util.find_spec("eos"), "wants the extra benchmark"
  )
  def test_eos_fits_the_landmarks_of_each_photo(self):
    [photo, *_] = self.faces.photos
    chin = np.array([0.0, 25.0]) * (photo.landmarks[:, 1:] > 90)
    self.assertBetween((chin > 0).sum(), 5, 30)
    plain, longer = eos_shapes(
      [
        dataclasses.replace(
          photo, landmarks=photo.landmarks + moved, visibility=np.ones(68)
        )
        for moved in (0, chin)
      ],
      self.model,
    )
    lowest = [scan.surface.vertices[:, 1].min() for scan in (plain, longer)]
    self.assertLess(lowest[1], lowest[0] - 1)

  def test_rendered_scans_have_their_photo_and_their_yaw(self):
    turned = york_yaw_set(self.faces)
    self.assertLen(turned.photos, 26)
    frontal = turned.photos[6]
    self.assertEqual(frontal.condition, "0")
    # The photograph is lighter to the right, and so is the face.
    grey = frontal.image[40:90, 20:76].mean((0, 2))
    self.assertTrue((np.diff(grey[::8]) > 2).all())
    self.assertGreater(frontal.visibility.sum(), 60)
    side = [
      photo.landmarks[30, 0] - photo.landmarks[[36, 45], 0].mean()
      for photo in (turned.photos[0], frontal, turned.photos[12])
    ]
    self.assertLess(side[0], -10)
    self.assertAlmostEqual(side[1], 0, delta=0.5)
    self.assertGreater(side[2], 10)
    photos = [
      dataclasses.replace(photo, visibility=np.zeros(68))
      for photo in turned.photos
    ]
    maker = make_maker(photos, {}, fitter=self.model)
    results = measure_york_yaw(turned, maker)
    row = york_yaw_rows(results)[TABLE_1][
      f"{MEAN_SHAPE}, York-rendered, development people within the outline"
    ]
    expected = results.table.scores[MEAN_SHAPE][OUTLINE_RMSE].mean()
    self.assertEqual(row[:3], (None,) * 3)
    np.testing.assert_allclose(row[3:], [expected] * 8)
    self.assertIn(SPHERE_RMSE, results.table.scores[MEAN_SHAPE])

  def test_the_evaluation_shows_and_tells_all(self):
    test = YorkTest(
      sources=[str(self.folder)],
      split="development",
      crops=PhotoSource("york", aligned=str(self.aligned)),
      processes=1,
    )
    photos = self.root / "photos"
    [(sections, measured)] = evaluate_york(
      test, {}, self.model, [], str(photos)
    )
    self.assertTrue((photos / YORK / f"{_NAMES[0]}.png").is_file())
    self.assertLen(sections, 2)
    row = f"{MEAN_SHAPE}, York, development people within the outline"
    for table in (TABLE_2, FIGURE_6):
      self.assertGreater(measured[table][row][0], 0.3)


if __name__ == "__main__":
  absltest.main()
