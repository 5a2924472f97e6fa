"""Scans of the published layout whose surface is a known function."""

import pathlib
import tarfile
import unittest
import zipfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.evaluation_sets import photo_scans, york
from data_prep.evaluation_sets.photo_scans import (
  PhotoScan,
  RejectedScanError,
  cut_scan,
)
from disentangle3d.types import UserError
from tests.data_prep.evaluation_sets.york_layout import (
  DEVELOPMENT,
  TEST,
  depth,
  landmarks_mm,
  names_of,
  pixels_of,
  scanned,
  write_york,
)

_REAL = pathlib.Path("../shared/data/york_scans")


def _photo_scan(scan=None, **changes):
  scan = scan or scanned()
  content = {
    "vertices": scan.vertices.astype(np.float32),
    "triangles": scan.triangles,
    "pixels": pixels_of(scan.vertices).astype(np.float32),
  }
  return PhotoScan(**(content | changes))


def _without(scan, hidden):
  """The scan without the triangles that touch some vertices."""
  keep = ~hidden(scan.vertices)[scan.triangles].any(1)
  return _photo_scan(scan, triangles=scan.triangles[keep])


class CutTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.points = landmarks_mm()
    self.landmarks_px = pixels_of(self.points)

  def test_landmarks_are_lifted_onto_the_surface(self):
    cut = cut_scan(_photo_scan(), self.landmarks_px)
    self.assertTrue(np.isfinite(cut.landmarks).all())
    np.testing.assert_allclose(cut.landmarks[:, :2], self.points, atol=1e-3)
    # Triangles of 4 mm cut through the nose.
    np.testing.assert_allclose(
      cut.landmarks[:, 2], depth(self.points), atol=0.7
    )
    fine = cut_scan(_photo_scan(scanned(step=1.0)), self.landmarks_px)
    np.testing.assert_allclose(
      fine.landmarks[:, 2], depth(self.points), atol=0.05
    )

  def test_loose_pieces_and_spikes_go_and_the_outline_is_the_face(self):
    scan = scanned()
    cut = cut_scan(_photo_scan(scan), self.landmarks_px)
    self.assertLen(cut.vertices, scan.face)
    self.assertLess(cut.vertices[:, 2].max(), 120)
    inside = cut.vertices[cut.inside]
    self.assertBetween(inside[:, 0].min(), -72, -64)
    # The brows are at 42 mm, and the nose from there is 52 mm long.
    self.assertBetween(inside[:, 1].max(), 42 + 0.5 * 52 - 4, 42 + 0.5 * 52)
    self.assertBetween(inside[:, 1].min(), -80, -72)
    outside = cut.vertices[~cut.inside]
    self.assertGreater(np.abs(outside[:, 1]).max(), 100)

  @parameterized.named_parameters(
    ("vertices", lambda v: v[:, 0] > 1e9, 1400, "fewer than 1500 vertices"),
    ("forehead", lambda v: v[:, 1] > 20, None, "less than 80 % of the outline"),
    (
      "mouth",
      lambda v: (np.abs(v[:, 0]) < 30) & (np.abs(v[:, 1] + 48) < 12),
      None,
      "landmarks off the surface",
    ),
  )
  def test_what_is_left_out(self, hidden, most, reason):
    scan = _without(scanned(), hidden)
    if most:
      scan = PhotoScan(scan.vertices[:most], scan.triangles[:0], scan.pixels)
    with self.assertRaisesRegex(RejectedScanError, reason):
      cut_scan(scan, self.landmarks_px)

  @parameterized.parameters(
    (1.4, 1.0, "distance of the eyes beyond 70 to 115 mm"),
    (1.0, 0.2, "depth of the nose beyond 15 to 60 mm"),
    (1.0, -1.0, "depth of the nose beyond 15 to 60 mm"),
  )
  def test_sizes_that_no_face_has(self, size, deep, reason):
    scan = scanned(step=2.0)
    vertices = (scan.vertices * [size, size, size * deep]).astype(np.float32)
    with self.assertRaisesRegex(RejectedScanError, reason):
      cut_scan(_photo_scan(scan, vertices=vertices), self.landmarks_px)

  def test_the_sizes_of_a_face_are_kept(self):
    scan = scanned(step=2.0)
    plain = cut_scan(_photo_scan(scan), self.landmarks_px)
    for size in (0.95, 1.2):
      vertices = (scan.vertices * size).astype(np.float32)
      cut = cut_scan(_photo_scan(scan, vertices=vertices), self.landmarks_px)
      np.testing.assert_array_equal(cut.inside, plain.inside)
      np.testing.assert_allclose(
        cut.landmarks, size * plain.landmarks, atol=1e-3
      )


class ListTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir("york").full_path)
    self.names = names_of([*DEVELOPMENT[:1], *TEST[:1]])
    write_york(self.folder, dict.fromkeys(self.names, scanned(step=16.0)))

  def test_people_are_in_one_of_the_splits(self):
    listed = {
      split: york.list_york([self.folder], split) for split in york.SPLITS
    }
    for split, person in (("development", DEVELOPMENT[0]), ("test", TEST[0])):
      self.assertEqual([one.person for one in listed[split]], [person] * 2)
      self.assertEqual([one.expression for one in listed[split]], ["08", "10"])

  def test_archives_say_what_the_folder_says(self):
    archives = pathlib.Path(self.create_tempdir("archives").full_path)
    with tarfile.open(archives / "scans.tar.xz", "w:xz") as tar:
      for name in self.names:
        tar.add(self.folder / f"{name}.obj", f"scans/{name}.obj")
    with zipfile.ZipFile(archives / "photos.zip", "w") as file:
      for name in self.names:
        file.write(self.folder / f"{name}.jpg", f"{name}.jpg")
    expected = [york.read_york(one) for one in york.list_york([self.folder])]
    both = [archives / "scans.tar.xz", archives / "photos.zip"]
    for sources in ([archives], both):
      found = york.list_york(sources)
      self.assertEqual([one.name for one in found], self.names[2:])
      for files, other in zip(found, expected, strict=True):
        scan = york.read_york(files)
        np.testing.assert_array_equal(scan.vertices, other.vertices)
        np.testing.assert_array_equal(scan.pixels, other.pixels)

  def test_pixels_are_the_photographs(self):
    scan = york.read_york(york.list_york([self.folder])[0])
    np.testing.assert_allclose(
      scan.pixels[:10], pixels_of(scan.vertices[:10]), atol=2e-3
    )

  def test_errors_name_file_and_problem(self):
    path = self.folder / self.names[0]
    path.with_suffix(".obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with self.assertRaisesRegex(UserError, f"{self.names[0]}.*texture"):
      york.read_york(york.list_york([self.folder], self._split(0))[0])
    empty = self.create_tempdir("empty").full_path
    with self.assertRaisesRegex(UserError, "scans of the test people.* none"):
      york.list_york([empty])
    with self.assertRaisesRegex(ValueError, "split: .*development, test"):
      york.list_york([self.folder], "train")

  def test_a_scan_without_its_photograph_is_left_out_and_told(self):
    split = self._split(0)
    listed = york.list_york([self.folder], split)
    (self.folder / self.names[0]).with_suffix(".jpg").unlink()
    with self.assertLogs(level="WARNING") as told:
      found = york.list_york([self.folder], split)
    gone = self.names[0].rpartition("/")[2]
    self.assertIn(f"{gone}.obj: left out, it has no photograph", str(told))
    self.assertEqual(
      [one.name for one in found],
      [one.name for one in listed if gone not in str(one.mesh_path)],
    )

  def _split(self, place):
    person = self.names[place].split("/")[0]
    return "development" if person in DEVELOPMENT else "test"


class RealScansTest(absltest.TestCase):
  @unittest.skipUnless(_REAL.is_dir(), "wants ../shared/data/york_scans")
  def test_the_published_set_is_read_and_split(self):
    listed = {split: york.list_york([_REAL], split) for split in york.SPLITS}
    people = {
      split: sorted({one.person for one in found})
      for split, found in listed.items()
    }
    self.assertEqual([len(names) for names in people.values()], [60, 61])
    everyone = sorted(people["development"] + people["test"])
    chosen = np.random.default_rng(0).permutation(everyone)[:60]
    self.assertEqual(people["development"], sorted(chosen.tolist()))
    scan = york.read_york(listed["development"][0])
    used = np.unique(scan.triangles)
    # A nearly frontal camera: x goes to the right, y up, z to the viewer.
    ones = np.ones((len(used), 1))
    points = np.concatenate([scan.vertices[used], ones], 1)
    slope = np.linalg.lstsq(points, scan.pixels[used], rcond=None)[0]
    self.assertBetween(slope[0, 0], 1.4, 2.0)
    self.assertBetween(slope[1, 1], -2.0, -1.4)
    corners = scan.vertices[scan.triangles]
    normal = np.cross(
      corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    ).sum(0)
    self.assertGreater(normal[2], 5 * np.abs(normal[:2]).max())


class PieceTest(absltest.TestCase):
  def test_the_piece_with_most_counted_vertices(self):
    triangles = np.array([[0, 1, 2], [2, 3, 1], [4, 5, 6], [6, 7, 8]])
    counted = np.ones(9, bool)
    np.testing.assert_array_equal(
      photo_scans.largest_piece(triangles, counted), triangles[2:]
    )
    counted[4:7] = False
    np.testing.assert_array_equal(
      photo_scans.largest_piece(triangles, counted), triangles[:2]
    )
    self.assertEmpty(photo_scans.largest_piece(triangles[:0], counted))


if __name__ == "__main__":
  absltest.main()
