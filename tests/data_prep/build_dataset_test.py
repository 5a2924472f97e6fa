import dataclasses
import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized
from array_record.python.array_record_module import ArrayRecordReader
import numpy as np

from data_prep.datasets.building import build_dataset, split_people
from data_prep.fitting.fit_files import (
  MORPHABLE_MODEL,
  Fits,
  fits_path,
  write_fits,
)
from data_prep.photos.crops import WHOLE_FACE
from data_prep.stages.about import read_counts, write_about
from data_prep.stages.folder import Share
from data_prep.stages.rows import (
  PhotoRow,
  manifest_path,
  read_rows,
  read_shard_rows,
  write_manifest,
)
from disentangle3d.faces.morphable_model import save_morphable_model
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.records import (
  decode_image,
  decode_record,
  encode_image,
)
from tests.fixtures import random_morphable_model
from tests.killing import run_killed

_NUM_PEOPLE = 5
_SHARDS = (range(4), range(4, 8), range(8, 10))
_STAGES_BEFORE = [
  {"stage": "locate_landmarks", "settings": {"locator": "dlib"}},
  {"stage": "align_faces", "settings": {"crop_template": "SphereFace"}},
]


def _write_fitted(folder: pathlib.Path) -> Fits:
  """Five people with two photos each; one photo was rejected.

  p8 and p9 are in the first of three shards, p10 and p11 in the second.
  """
  rng = np.random.default_rng(0)
  rows = []
  for person in range(_NUM_PEOPLE):
    for number in range(2):
      image_id = f"p{person + 8}/{number}.jpg"
      crop = folder / "crops" / f"{image_id}.png"
      crop.parent.mkdir(parents=True, exist_ok=True)
      crop.write_bytes(
        encode_image(rng.integers(0, 256, (112, 96, 3), np.uint8))
      )
      row = PhotoRow(
        image_path=folder / image_id,
        subject=f"p{person + 8}",
        image_id=image_id,
        status="ok",
        box=np.zeros(4),
        five_points=np.zeros((5, 2)),
        landmarks=rng.normal(size=(68, 2)).astype(np.float32),
        visibility=rng.integers(0, 2, 68).astype(np.float32),
        crop_from_photo=rng.normal(size=(2, 3)).astype(np.float32),
        crop_path=crop,
      )
      rows.append(row)
  rows[3] = rows[3].rejected("too far off: 9 px")
  write_about(
    folder,
    "fit_faces",
    settings={"contour": "off"},
    licences={"photos": "x"},
    counts={},
    stages_before=_STAGES_BEFORE,
  )
  model = random_morphable_model(identity_dim=6, expression_dim=3)
  save_morphable_model(folder / MORPHABLE_MODEL, model)
  fitted = [row for row in rows if row.status == "ok"]
  # In another order than the rows: image_id decides.
  fits = Fits(
    image_id=np.array([row.image_id for row in reversed(fitted)]),
    identity_coefficients=rng.normal(size=(9, 6)).astype(np.float32),
    expression_coefficients=rng.normal(size=(9, 3)).astype(np.float32),
    camera_scale=rng.random(9).astype(np.float32),
    camera_rotation=rng.normal(size=(9, 3, 3)).astype(np.float32),
    camera_translation=rng.normal(size=(9, 2)).astype(np.float32),
    rmse_px=rng.random(9).astype(np.float32),
    relative_error=rng.random(9).astype(np.float32),
    outliers=np.zeros(9, np.float32),
  )
  for shard, places in enumerate(_SHARDS):
    write_manifest(manifest_path(folder, shard, 3), [rows[i] for i in places])
    _write_fits(folder, shard, fits)
  return fits


def _write_fits(folder: pathlib.Path, shard: int, fits: Fits) -> None:
  """Those of a shard's photos."""
  manifest = manifest_path(folder, shard, 3)
  ids = {row.image_id for row in read_shard_rows(manifest)}
  mine = np.array([name in ids for name in fits.image_id.tolist()])
  write_fits(fits_path(manifest), _some_fits(fits, mine))


def _some_fits(fits: Fits, chosen: np.ndarray | slice) -> Fits:
  return Fits(
    **{
      field.name: getattr(fits, field.name)[chosen]
      for field in dataclasses.fields(Fits)
    }
  )


def _files(folder: pathlib.Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()}


class BuildDatasetTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name) / "fitted"
    self.folder.mkdir()
    self.fits = _write_fitted(self.folder)
    self.output = pathlib.Path(scratch.name) / "dataset"

  def _records(self, split: str) -> list[dict]:
    records = []
    for path in open_dataset(self.output, split).files:
      reader = ArrayRecordReader(str(path))
      records += [decode_record(data) for data in reader.read_all()]
      reader.close()
    return records

  def test_records_hold_what_the_stages_found(self):
    build_dataset(self.folder, self.output, heldout="p9,p11")
    train, heldout = self._records("train"), self._records("heldout")
    self.assertEqual(
      [(r["image_id"], r["label"]) for r in [*train, *heldout]],
      [
        ("p8/0.jpg", 0),
        ("p8/1.jpg", 0),
        ("p10/0.jpg", 1),
        ("p10/1.jpg", 1),
        ("p12/0.jpg", 2),
        ("p12/1.jpg", 2),
        ("p9/0.jpg", 3),
        ("p11/0.jpg", 4),
        ("p11/1.jpg", 4),
      ],
    )
    rows = {row.image_id: row for row in read_rows(self.folder, aligned=True)}
    place = {name: i for i, name in enumerate(self.fits.image_id.tolist())}
    for record in [*train, *heldout]:
      row = rows[record["image_id"]]
      index = place[record["image_id"]]
      self.assertEqual(record["subject"], row.subject)
      self.assertEqual(record["image"], row.crop_path.read_bytes())
      self.assertEqual(decode_image(record["image"]).shape, (112, 96, 3))
      for name in (
        "identity_coefficients",
        "expression_coefficients",
        "camera_scale",
        "camera_rotation",
        "camera_translation",
      ):
        np.testing.assert_array_equal(
          record[name], getattr(self.fits, name)[index]
        )
      matrix = row.crop_from_photo
      np.testing.assert_allclose(
        record["landmarks"],
        row.landmarks @ matrix[:, :2].T + matrix[:, 2],
        atol=1e-4,
      )
      np.testing.assert_array_equal(record["visibility"], row.visibility)

  def test_the_manifest_says_what_was_left_out_and_the_licences(self):
    build_dataset(self.folder, self.output, heldout="1", seed=3)
    manifest = json.loads((self.output / "manifest.json").read_text())
    settings = manifest["created"]["settings"]
    self.assertEqual(settings["rejected"], {"p9/1.jpg": "too far off: 9 px"})
    self.assertEqual(settings["counts"], {"ok": 9, "rejected, too far off": 1})
    self.assertEqual(
      settings["licences"], {"photos": "x", "random points": "Apache-2.0"}
    )
    self.assertEqual(settings["rejected_by_reason"], {"too far off": 1})
    self.assertEqual(
      settings["stages_before"],
      [*_STAGES_BEFORE, {"stage": "fit_faces", "settings": {"contour": "off"}}],
    )
    self.assertIn("opencv-python-headless", manifest["created"]["versions"])
    self.assertEqual(manifest["num_classes"], 4)
    self.assertEqual(manifest["splits"]["heldout"]["num_people"], 1)

  def test_the_manifest_says_what_crops_are_aligned_by(self):
    build_dataset(self.folder, self.output, heldout="p9,p11")
    self.assertEqual(open_dataset(self.output, "train").template, "sphereface")
    about = json.loads((self.folder / "about.json").read_text())
    about["stages_before"].append(
      {"stage": "align_faces", "settings": {"crop_template": WHOLE_FACE.title}}
    )
    (self.folder / "about.json").write_text(json.dumps(about))
    other = self.output.with_name("other")
    build_dataset(self.folder, other, heldout="p9,p11")
    self.assertEqual(open_dataset(other, "train").template, "whole_face")

  def test_each_stage_is_counted(self):
    rows = read_rows(self.folder)
    gone = {"status": "rejected", "crop_from_photo": None, "crop_path": None}
    nothing = {**gone, "box": None, "five_points": None, "landmarks": None}
    rows[0] = dataclasses.replace(rows[0], reason="no face found", **nothing)
    rows[1] = dataclasses.replace(rows[1], reason="no face found", **nothing)
    rows[2] = dataclasses.replace(rows[2], reason="the photo is gone", **gone)
    # With a fit, which was a bad one.
    rows[4] = rows[4].rejected("landmarks met badly: error 15 %")
    for shard, places in enumerate(_SHARDS):
      path = manifest_path(self.folder, shard, 3)
      write_manifest(path, [rows[place] for place in places])
      # Without those of the first photos.
      _write_fits(self.folder, shard, _some_fits(self.fits, slice(6)))
    build_dataset(self.folder, self.output, heldout="1")
    manifest = json.loads((self.output / "manifest.json").read_text())
    settings = manifest["created"]["settings"]
    self.assertEqual(
      settings["stages"],
      {
        "photos": 10,
        "detected": 8,
        "located": 8,
        "aligned": 7,
        "fitted": 6,
        "kept": 5,
      },
    )
    self.assertEqual(
      settings["rejected_by_reason"],
      {
        "no face found": 2,
        "the photo is gone": 1,
        "too far off": 1,
        "landmarks met badly": 1,
      },
    )

  def test_nobody_need_be_held_out(self):
    build_dataset(self.folder, self.output, heldout="0")
    self.assertLen(self._records("train"), 9)

  def test_a_photo_without_a_fit_is_named(self):
    _write_fits(self.folder, 2, _some_fits(self.fits, slice(1, None)))
    with self.assertRaisesRegex(ValueError, "p12/1.jpg: ok in .* no fit"):
      build_dataset(self.folder, self.output, heldout="1")
    self.assertFalse((self.output / "manifest.json").exists())

  def test_a_model_of_other_size_is_named(self):
    model = random_morphable_model(identity_dim=5, expression_dim=3)
    save_morphable_model(self.folder / MORPHABLE_MODEL, model)
    with self.assertRaisesRegex(
      ValueError, "fits-.*npz: expected 5 identity_coefficients .* got 6"
    ):
      build_dataset(self.folder, self.output, heldout="1")

  def test_a_broken_crop_is_named_and_once_mended_the_run_goes_on(self):
    crop = self.folder / "crops" / "p10" / "1.jpg.png"
    whole = crop.read_bytes()
    crop.write_bytes(whole[:500])
    with self.assertRaisesRegex(ValueError, r"p10/1\.jpg\.png: image: expecte"):
      build_dataset(self.folder, self.output, heldout="p9")
    self.assertFalse((self.output / "manifest.json").exists())
    self.assertEmpty(list(self.output.glob(".*")))
    crop.write_bytes(whole)
    build_dataset(self.folder, self.output, heldout="p9")
    self.assertLen(self._records("train"), 8)

  def test_shares_and_one_machine_end_in_the_same_bytes(self):
    alone = build_dataset(self.folder, self.output, heldout="2", seed=1)
    other = self.output.with_name("shared")
    for index in (2, 0):
      part = build_dataset(
        self.folder, other, heldout="2", seed=1, share=Share(index, 3)
      )
      self.assertIsNone(part)
      self.assertFalse((other / "manifest.json").exists())
    with self.assertRaisesRegex(ValueError, "begun with seed 1.*got 2"):
      build_dataset(self.folder, other, heldout="2", seed=2, share=Share(1, 3))
    last = build_dataset(
      self.folder, other, heldout="2", seed=1, share=Share(1, 3)
    )
    self.assertEqual(last, alone)
    self.assertEqual(_files(other), _files(self.output))
    counts = {"ok": 9, "rejected, too far off": 1}
    self.assertEqual(read_counts(other), counts)

  def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(self):
    build_dataset(self.folder, self.output, heldout="p9")
    other = self.output.with_name("killed")
    command = (
      "data_prep.build_dataset",
      f"--fitted={self.folder}",
      f"--output={other}",
      "--heldout_people=p9",
    )
    # In the second shard, between its file and its manifest.
    status = run_killed(*command, pattern="manifest-*.json", after=1)
    self.assertEqual(status, -9)
    first = other / "train-00000-of-00003.array_record"
    self.assertTrue((other / "train-00001-of-00003.array_record").is_file())
    self.assertFalse((other / "manifest.json").exists())
    self.assertNotEmpty(list(other.glob(".*.partial")))
    kept = first.stat().st_mtime_ns
    build_dataset(self.folder, other, heldout="p9")
    self.assertEqual(first.stat().st_mtime_ns, kept)
    self.assertEqual(_files(other), _files(self.output))

  def test_a_missing_fit_file_is_named(self):
    (self.folder / "fits-00001-of-00003.npz").unlink()
    with self.assertRaisesRegex(FileNotFoundError, "fits-.*no such file"):
      build_dataset(self.folder, self.output, heldout="1")


class SplitPeopleTest(parameterized.TestCase):
  def test_a_number_is_picked_by_seed_and_nobody_is_in_both(self):
    people = [f"s{i}" for i in range(20)]
    train, heldout = split_people(people * 3, "6", seed=0)
    self.assertLen(heldout, 6)
    self.assertEqual(sorted(train + heldout), sorted(people))
    self.assertEqual(split_people(people[::-1], "6", seed=0), (train, heldout))
    self.assertNotEqual(split_people(people, "6", seed=1), (train, heldout))

  def test_names_that_are_numbers_need_a_comma(self):
    people = ["0000045", "0000099", "0000100"]
    self.assertEqual(
      split_people(people, "0000099,", seed=0),
      (["0000045", "0000100"], ["0000099"]),
    )

  def test_names_may_have_commas_and_accents_of_another_system(self):
    one, two = "Jose\u0301, Jr.", "Ann"
    for heldout in (one, f'"{one}"', '"Jos\u00e9, Jr."', f'"{one}",'):
      self.assertEqual(
        split_people([one, two], heldout, seed=0), ([two], [one])
      )
    # Where both are there, each is who it is.
    both = ["Jose\u0301", "Jos\u00e9"]
    for name, other in (both, both[::-1]):
      self.assertEqual(
        split_people(both, f"{name},", seed=0), ([other], [name])
      )

  @parameterized.named_parameters(
    ("all", "2", "expected fewer than the 2 people there are, got 2"),
    ("unknown", "a,c", "expected a number or names .* got 'c'"),
    ("empty", "", "expected a number or names .* got ''"),
    ("everyone", "a,b", "expected someone to be left"),
  )
  def test_what_does_not_fit_is_named(self, heldout, message):
    with self.assertRaisesRegex(ValueError, message):
      split_people(["a", "b"], heldout, seed=0)


if __name__ == "__main__":
  absltest.main()
