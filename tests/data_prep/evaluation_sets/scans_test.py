"""BU-3DFE and Florence: small folders of their layout, read whole."""

import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.evaluation_sets.bnd import read_bnd
from data_prep.evaluation_sets.bu3dfe import list_bu3dfe
from data_prep.evaluation_sets.florence import list_florence
from data_prep.evaluation_sets.scans import read_scan
from disentangle3d.faces.meshes import write_mesh
from tests.data_prep.evaluation_sets.vrml_test import FACE, VERTICES

LANDMARKS = np.random.default_rng(0).normal(0, 50, (83, 3)).round(4)


def bnd_text(landmarks=LANDMARKS, vertices=4) -> str:
  return "".join(
    f"{number % vertices}\t\t{x:.4f} {y:.4f} {z:.4f}\n"
    for number, (x, y, z) in enumerate(landmarks)
  )


def _touch(path: pathlib.Path, text: str = "") -> pathlib.Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)
  return path


class _Case(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.root = pathlib.Path(scratch.name)


class Bu3dfeTest(_Case):
  def test_scans_come_with_landmarks_and_photo(self):
    for subject, names in (
      ("F0001", ("AN01WH", "AN02WH", "NE00WH")),
      ("M0044", ("HA04IN",)),
    ):
      for name in names:
        start = f"{subject}/{subject}_{name}"
        _touch(self.root / f"{start}_F3D.wrl", FACE)
        _touch(self.root / f"{start}_F3D.bnd", bnd_text())
        _touch(self.root / f"{start}_RAW.wrl", "not looked at")
        _touch(self.root / f"{start}_RAW.pse")
        _touch(self.root / f"{start}_F2D.bmp")
    (self.root / "M0044" / "M0044_HA04IN_F2D.bmp").unlink()
    (self.root / "M0044" / "M0044_HA04IN_F3D.bnd").unlink()
    scans = list_bu3dfe(self.root)
    self.assertEqual(
      [(s.subject, s.expression, s.level, len(s.photo_paths)) for s in scans],
      [
        ("F0001", "AN", 1, 1),
        ("F0001", "AN", 2, 1),
        ("F0001", "NE", 0, 1),
        ("M0044", "HA", 4, 0),
      ],
    )
    self.assertEqual(
      scans[2].photo_paths[0], self.root / "F0001" / "F0001_NE00WH_F2D.bmp"
    )
    scan = read_scan(scans[2])
    np.testing.assert_array_equal(scan.vertices, VERTICES)
    np.testing.assert_array_equal(scan.triangles, [[0, 1, 2], [1, 0, 3]])
    np.testing.assert_allclose(scan.landmarks, LANDMARKS, rtol=1e-6)
    self.assertIs(scan.files, scans[2])
    self.assertIsNone(read_scan(scans[3]).landmarks)

  def test_landmarks_of_another_mesh_are_named(self):
    start = self.root / "F0001" / "F0001_NE00WH_F3D"
    _touch(start.with_suffix(".wrl"), FACE)
    _touch(start.with_suffix(".bnd"), bnd_text(vertices=50))
    with self.assertRaisesRegex(
      ValueError, "F3D.bnd: expected vertices below 4, .*F3D.wrl has, got 49"
    ):
      read_scan(list_bu3dfe(self.root)[0])

  @parameterized.named_parameters(
    ("no_scan", "F0001/readme.wrl", ValueError, "found none"),
    ("level", "F0001/F0001_NE01WH_F3D.wrl", ValueError, "got NE01"),
    ("neutral", "F0001/F0001_AN00WH_F3D.wrl", ValueError, "got AN00"),
  )
  def test_other_folders_are_named(self, name, error, problem):
    _touch(self.root / name)
    with self.assertRaisesRegex(error, problem):
      list_bu3dfe(self.root)

  def test_a_missing_folder_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "gone: no such folder"):
      list_bu3dfe(self.root / "gone")


class BndTest(_Case):
  def test_vertices_count_from_zero(self):
    found = read_bnd(_touch(self.root / "a.bnd", bnd_text() + "\n"))
    np.testing.assert_array_equal(found.vertices, np.arange(83) % 4)
    self.assertEqual(found.vertices.dtype, np.int32)
    np.testing.assert_allclose(found.points, LANDMARKS, rtol=1e-6)

  @parameterized.named_parameters(
    ("few", bnd_text(LANDMARKS[:9]), ": expected 83 landmarks, got 9"),
    ("half", "0.5 1 2 3\n", ", line 1: expected a vertex from 0, got 0.5"),
    (
      "minus",
      "1 1 2 3\n-1 1 2 3",
      ", line 2: expected a vertex from 0, got -1",
    ),
    ("three", "1 1 2\n", ", line 1: expected 4 numbers, got 3"),
    ("nan", "1 1 2 nan\n", ", line 1: expected finite numbers"),
  )
  def test_what_is_malformed_is_named(self, content, problem):
    with self.assertRaisesRegex(ValueError, f"a.bnd{problem}"):
      read_bnd(_touch(self.root / "a.bnd", content))


class FlorenceTest(_Case):
  def setUp(self):
    super().setUp()
    self.scans = self.root / "Florence"
    self.vertices = np.array(VERTICES, np.float32)
    self.triangles = np.array([[0, 1, 2], [1, 0, 3]])
    for subject, view in (
      ("subject_01", "frontal1"),
      ("subject_01", "frontal2"),
      ("subject_02", "frontal1"),
    ):
      path = self.scans / subject / "Model" / view / "obj" / "1109.obj"
      path.parent.mkdir(parents=True)
      write_mesh(path, self.vertices, self.triangles)
    _touch(self.scans / "subject_03/Model/sidel/vrml/1110.wrl", FACE)
    _touch(self.scans / "subject_01" / "Video" / "PTZ-Indoor.mjpg")
    self.points = LANDMARKS[:68].tolist()
    _touch(
      self.root / "MICC/subject_01/Model/frontal2/obj/1109.ljson",
      json.dumps({"version": 2, "landmarks": {"points": self.points}}),
    )

  def test_scans_come_with_landmarks_and_frames(self):
    for name in ("PTZ-Outdoor/9.jpg", "PTZ-Outdoor/10.jpg", "PTZ-Indoor/1.jpg"):
      _touch(self.root / "frames" / "subject_01" / name)
    _touch(self.root / "frames" / "subject_01" / "PTZ-Indoor" / "notes.txt")
    scans = list_florence(
      self.scans, landmarks=self.root / "MICC", frames=self.root / "frames"
    )
    self.assertEqual(
      [(s.subject, s.expression, s.level, len(s.photo_paths)) for s in scans],
      [
        ("subject_01", "frontal1", 0, 3),
        ("subject_01", "frontal2", 0, 3),
        ("subject_02", "frontal1", 0, 0),
        ("subject_03", "sidel", 0, 0),
      ],
    )
    self.assertEqual(
      [photo.parent.name + "/" + photo.name for photo in scans[0].photo_paths],
      ["PTZ-Indoor/1.jpg", "PTZ-Outdoor/9.jpg", "PTZ-Outdoor/10.jpg"],
    )
    self.assertIsNone(scans[0].landmarks_path)
    scan = read_scan(scans[1])
    np.testing.assert_array_equal(scan.vertices, self.vertices)
    np.testing.assert_array_equal(scan.triangles, self.triangles)
    np.testing.assert_allclose(scan.landmarks, self.points, rtol=1e-6)
    np.testing.assert_array_equal(read_scan(scans[3]).vertices, VERTICES)

  def test_what_is_missing_is_named(self):
    for folders in (
      {"root": "gone"},
      {"root": "Florence", "landmarks": self.root / "gone"},
      {"root": "Florence", "frames": self.root / "gone"},
    ):
      root = self.root / folders.pop("root")
      with self.assertRaisesRegex(FileNotFoundError, "gone: no such folder"):
        list_florence(root, **folders)
    with self.assertRaisesRegex(ValueError, "MICC: expected scans as"):
      list_florence(self.root / "MICC")


if __name__ == "__main__":
  absltest.main()
