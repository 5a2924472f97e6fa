import json
import pathlib

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.datasets.writer import write_dataset
from disentangle3d.training.dataset import (
  MANIFEST,
  load_dataset_model,
  open_dataset,
)
from disentangle3d.training.input_pipeline import RecordReader
from tests.training.cases import MORPHABLE_MODEL, records, write_tiny_dataset


class DatasetWriterTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path) / "dataset"

  def test_splits_and_model_come_back(self):
    write_tiny_dataset(self.folder, records_per_file=8)
    train = open_dataset(self.folder, "train")
    heldout = open_dataset(self.folder, "heldout")
    self.assertEqual(
      (train.num_records, train.num_people, train.num_classes), (20, 4, 4)
    )
    self.assertEqual((heldout.num_records, heldout.num_people), (4, 2))
    self.assertEqual(
      [path.name for path in train.files],
      [f"train-0000{i}-of-00003.array_record" for i in range(3)],
    )
    got = RecordReader(train).read_records(range(20))
    self.assertEqual(
      [record["image_id"] for record in got],
      [record["image_id"] for record in records()],
    )
    self.assertEqual(train.provenance["licence"], "Apache-2.0")
    np.testing.assert_array_equal(
      load_dataset_model(train).identity_basis, MORPHABLE_MODEL.identity_basis
    )

  def _splits(self, **changes):
    rows = list(records())
    rows[6] = {**rows[6], **changes}
    return {"train": rows}

  @parameterized.named_parameters(
    ("label", {"label": 3}, "expected label 1 as 's1' had before, got 3"),
    ("twice", {"image_id": "s0/0"}, "expected each image id once"),
    (
      "sizes",
      {"identity_coefficients": np.zeros(9)},
      r"of shape \[12\] as the 3DMM has, got \[9\]",
    ),
    ("malformed", {"visibility": np.zeros(5)}, "visibility"),
  )
  def test_bad_record_leaves_nothing(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      write_dataset(self.folder, self._splits(**changes), MORPHABLE_MODEL, {})
    self.assertEmpty(list(self.folder.parent.iterdir()))

  def test_people_in_two_splits_are_refused(self):
    splits = {"train": records(), "heldout": records(people=1)}
    with self.assertRaisesRegex(ValueError, "'s0' in 'train' and 'heldout'"):
      write_dataset(self.folder, splits, MORPHABLE_MODEL, {})
    self.assertFalse(self.folder.exists())

  def test_labels_with_a_hole_and_empty_splits_are_refused(self):
    rows = [row for row in records() if row["label"] != 1]
    with self.assertRaisesRegex(ValueError, "expected labels 0 to 2"):
      write_dataset(self.folder, {"train": rows}, MORPHABLE_MODEL, {})
    with self.assertRaisesRegex(ValueError, "at least one record"):
      write_dataset(self.folder, {"train": []}, MORPHABLE_MODEL, {})
    with self.assertRaisesRegex(ValueError, 'one called "train"'):
      write_dataset(self.folder, {"test": records()}, MORPHABLE_MODEL, {})

  def test_a_folder_with_something_in_it_is_left_alone(self):
    self.folder.mkdir()
    (self.folder / "note").write_text("mine")
    with self.assertRaisesRegex(ValueError, "new or an empty folder"):
      write_tiny_dataset(self.folder)
    self.assertEqual((self.folder / "note").read_text(), "mine")


class OpenDatasetTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path) / "dataset"
    write_tiny_dataset(self.folder)
    self.file = self.folder / "train-00000-of-00001.array_record"

  def _edit_manifest(self, change):
    path = self.folder / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))

  def _refused(self, error, message, split="train", **kwargs):
    with self.assertRaisesRegex(error, message):
      open_dataset(self.folder, split, **kwargs)

  def test_changed_bytes_are_found(self):
    data = bytearray(self.file.read_bytes())
    data[len(data) // 2] ^= 1
    self.file.write_bytes(data)
    self._refused(ValueError, f"{self.file.name}: expected sha256")

  def test_a_truncated_file_is_found_without_checksums(self):
    self.file.write_bytes(self.file.read_bytes()[:1000])
    self._refused(ValueError, self.file.name, verify=False)

  def test_missing_files_are_named(self):
    self.file.unlink()
    self._refused(FileNotFoundError, f"{self.file.name}: no such file")
    (self.folder / MANIFEST).unlink()
    self._refused(FileNotFoundError, "manifest.json: no such file")

  def test_other_counts_are_found(self):
    def fewer(manifest):
      manifest["splits"]["train"]["files"][0]["num_records"] = 19

    self._edit_manifest(fewer)
    self._refused(ValueError, "expected 19 records as manifest.json says")

  def test_another_model_is_found(self):
    (self.folder / "morphable_model.npz").write_bytes(b"another")
    self._refused(ValueError, "morphable_model.npz: expected sha256")

  def test_model_of_other_sizes_is_found(self):
    self._edit_manifest(lambda m: m.update(identity_dim=13))
    split = open_dataset(self.folder, "train")
    with self.assertRaisesRegex(ValueError, "identity_dim 13 .* got 12"):
      load_dataset_model(split)

  def test_other_manifests_are_refused(self):
    self._refused(ValueError, "split 'test', got heldout, train", split="test")
    self._edit_manifest(lambda m: m.pop("splits"))
    self._refused(ValueError, "expected the keys splits")
    self._edit_manifest(lambda m: m.update(format="other"))
    self._refused(ValueError, 'expected "format"')
    (self.folder / MANIFEST).write_text("{")
    self._refused(ValueError, "expected JSON")


if __name__ == "__main__":
  absltest.main()
