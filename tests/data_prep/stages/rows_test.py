import dataclasses
import json
import os
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.stages.about import read_licences, write_about
from data_prep.stages.rows import (
  PhotoRow,
  count_rows,
  list_manifests,
  manifest_path,
  read_rows,
  read_shard_rows,
  write_manifest,
)


def _row(folder: pathlib.Path, number: int, **changes) -> PhotoRow:
  rng = np.random.default_rng(number)
  row = PhotoRow(
    image_path=folder / "photos" / f"{number}.jpg",
    subject="Zoë",
    image_id=f"Zoë/{number}.jpg",
    status="ok",
    detector="a detector",
    box=rng.normal(size=4).astype(np.float32),
    five_points=rng.normal(size=(5, 2)).astype(np.float32),
    landmarks=(100 * rng.normal(size=(68, 2))).astype(np.float32),
    visibility=rng.integers(0, 2, 68).astype(np.float32),
    crop_from_photo=rng.normal(size=(2, 3)).astype(np.float32),
    crop_path=folder / "crops" / f"{number}.png",
  )
  return dataclasses.replace(row, **changes)


class ManifestsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.path = manifest_path(self.folder)

  def _spoil(self, **changes):
    """A manifest whose second row has these JSON values."""
    write_manifest(self.path, [_row(self.folder, i) for i in range(3)])
    lines = self.path.read_text().splitlines()
    content = json.loads(lines[1])
    for name, value in changes.items():
      if value is ...:
        del content[name]
      else:
        content[name] = value
    lines[1] = json.dumps(content)
    self.path.write_text("\n".join(lines) + "\n")

  def test_rows_come_back_exactly(self):
    rows = [
      _row(self.folder, 0),
      _row(
        self.folder,
        1,
        spread=np.linspace(0.1, 3, 68, dtype=np.float32),
        silhouette=np.ones((17, 2), np.float32),
        disagreement=np.float32(0.03).reshape(()),
      ),
      PhotoRow(
        image_path=self.folder / "b.jpg",
        subject="b",
        image_id="b",
        status="ok",
        detector="",
      ).rejected("no face found"),
    ]
    write_manifest(self.path, rows)
    again = read_shard_rows(self.path, aligned=True)
    self.assertLen(again, 3)
    self.assertNotIn("spread", self.path.read_text().splitlines()[0])
    for row, other in zip(rows, again, strict=True):
      for field in dataclasses.fields(PhotoRow):
        np.testing.assert_array_equal(
          getattr(other, field.name), getattr(row, field.name)
        )

  def test_folders_may_be_moved_together(self):
    before = self.folder / "before"
    (before / "stage").mkdir(parents=True)
    write_manifest(manifest_path(before / "stage"), [_row(before, 0)])
    os.rename(before, self.folder / "after")
    (row,) = read_shard_rows(manifest_path(self.folder / "after" / "stage"))
    self.assertEqual(row.image_path, self.folder / "after" / "photos" / "0.jpg")

  @parameterized.named_parameters(
    ("key", {"landmarks": ...}, "expected the key landmarks, got none"),
    ("null", {"box": None}, "box: expected a value in an ok row"),
    ("count", {"box": [1, 2, 3]}, r"box: expected \[4\] numbers, got \[3\]"),
    ("ragged", {"five_points": [[1, 2], [3]]}, "five_points: expected numbers"),
    ("words", {"box": ["a", 1, 1, 1]}, "box: expected numbers"),
    ("nan", {"box": [float("nan"), 1, 2, 3]}, "box: expected finite"),
    ("huge", {"box": [1e300, 1, 2, 3]}, "box: expected finite"),
    ("null_number", {"box": [None, 1, 2, 3]}, "box: expected finite"),
    ("status", {"status": "good"}, 'status: expected "ok" or "rejected"'),
    ("reason", {"status": "rejected"}, "reason: expected why"),
    ("name", {"subject": ""}, "subject: expected a name"),
    ("number", {"subject": 7}, "subject: expected text, got 7"),
    ("path", {"image_path": 7}, "image_path: expected a path, got 7"),
    ("no_path", {"image_path": None}, "image_path: expected a path"),
    ("escape", {"image_id": "../a"}, "image_id: expected a relative path"),
    ("twice", {"image_id": "Zoë/0.jpg"}, "image_id 'Zoë/0.jpg' is .* row 1"),
  )
  def test_one_clear_line_names_file_and_row(self, changes, message):
    self._spoil(**changes)
    with self.assertRaisesRegex(
      ValueError, rf"manifest-00000-of-00001\.jsonl, row 2: {message}"
    ):
      read_shard_rows(self.path)

  @parameterized.named_parameters(
    ("truncated", '{"image_path": "a', "expected a JSON object, Unterm"),
    ("empty_line", "", "expected a JSON object"),
    ("list", "[1]", r"expected a JSON object, got '\[1\]'"),
  )
  def test_lines_that_are_no_rows(self, line, message):
    write_manifest(self.path, [_row(self.folder, 0)])
    with self.path.open("a") as file:
      file.write(line + "\n")
    with self.assertRaisesRegex(ValueError, f"row 2: {message}"):
      read_shard_rows(self.path)

  def test_binary_and_missing_files(self):
    with self.assertRaisesRegex(FileNotFoundError, "jsonl: no such file"):
      read_shard_rows(self.path)
    self.path.write_bytes(b"\xff\xfe")
    with self.assertRaisesRegex(ValueError, "expected UTF-8"):
      read_shard_rows(self.path)

  def test_landmarks_and_crops_are_asked_for_where_they_must_be(self):
    write_manifest(self.path, [_row(self.folder, 0, landmarks=None)])
    self.assertLen(read_shard_rows(self.path), 1)
    with self.assertRaisesRegex(ValueError, "landmarks: expected a value"):
      read_shard_rows(self.path, located=True)
    row = _row(self.folder, 0, crop_path=None)
    write_manifest(self.path, [row])
    self.assertLen(read_shard_rows(self.path, located=True), 1)
    with self.assertRaisesRegex(ValueError, "crop_path: expected a value"):
      read_shard_rows(self.path, aligned=True)

  def test_nothing_is_written_of_bad_rows(self):
    row = _row(self.folder, 0)
    bad = _row(self.folder, 1, box=np.full(4, np.nan, np.float32))
    with self.assertRaisesRegex(ValueError, "Zoë/1.jpg: box: expected finite"):
      write_manifest(self.path, [row, bad])
    with self.assertRaisesRegex(ValueError, "already in an earlier row"):
      write_manifest(self.path, [row, row])
    self.assertEmpty(list(self.folder.iterdir()))

  def test_shards_are_read_in_order_and_must_be_complete(self):
    for shard in (1, 0):
      write_manifest(
        manifest_path(self.folder, shard, 2), [_row(self.folder, shard)]
      )
    self.assertEqual(
      [row.image_id for row in read_rows(self.folder)],
      ["Zoë/0.jpg", "Zoë/1.jpg"],
    )
    stray = manifest_path(self.folder, 0, 3)
    write_manifest(stray, [])
    with self.assertRaisesRegex(ValueError, "00000-of-00003.*: expected one"):
      list_manifests(self.folder)
    stray.unlink()
    manifest_path(self.folder, 1, 2).unlink()
    with self.assertRaisesRegex(ValueError, "00001-of-00002.*: no such file"):
      read_rows(self.folder)

  def test_a_photo_in_two_shards_is_refused(self):
    for shard in (0, 1):
      write_manifest(
        manifest_path(self.folder, shard, 2), [_row(self.folder, 5)]
      )
    with self.assertRaisesRegex(
      ValueError, "00001-of-00002.*row 1: image_id 'Zoë/5.jpg' is already"
    ):
      read_rows(self.folder)

  def test_folders_without_a_manifest(self):
    with self.assertRaisesRegex(FileNotFoundError, "found none"):
      read_rows(self.folder)
    with self.assertRaisesRegex(FileNotFoundError, "gone: no such folder"):
      read_rows(self.folder / "gone")

  def test_licences_are_handed_on(self):
    write_about(
      self.folder, "a", settings={}, licences={"photos": "free"}, counts={}
    )
    self.assertEqual(read_licences(self.folder), {"photos": "free"})
    (self.folder / "about.json").write_text("[]")
    with self.assertRaisesRegex(ValueError, "about.json: expected an object"):
      read_licences(self.folder)

  def test_rejections_are_counted_by_kind(self):
    rows = [
      _row(self.folder, 0),
      _row(self.folder, 1).rejected("no face found"),
      _row(self.folder, 2).rejected("photo too small: 1 x 1 px"),
      _row(self.folder, 3).rejected("photo too small: 2 x 2 px"),
    ]
    self.assertEqual(
      count_rows(rows),
      {"ok": 1, "rejected, no face found": 1, "rejected, photo too small": 2},
    )


if __name__ == "__main__":
  absltest.main()
