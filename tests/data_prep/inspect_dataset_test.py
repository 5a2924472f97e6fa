import io
import json
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized
from array_record.python.array_record_module import (
  ArrayRecordReader,
  ArrayRecordWriter,
)
import flax.serialization
import numpy as np
from PIL import Image

from data_prep.datasets.checks import check_dataset
from data_prep.datasets.content import Limits
from data_prep.datasets.inspection_page import inspection_page
from data_prep.datasets.writer import write_dataset
from disentangle3d.training.dataset import MANIFEST, sha256_of
from disentangle3d.training.records import decode_record, encode_image
from tests.data_prep.pictures import smooth_picture
from tests.fixtures import REPOSITORY
from tests.training.cases import MORPHABLE_MODEL, records


def _write(folder: pathlib.Path) -> pathlib.Path:
  """20 photos of 4 people to train, in two files, and 4 of 2 held out."""
  splits = {}
  for number, (name, rows) in enumerate(
    (("train", records()), ("heldout", records(people=2, photos=2, prefix="h")))
  ):
    splits[name] = [
      {**row, "image": encode_image(smooth_picture(100 * number + i))}
      for i, row in enumerate(rows)
    ]
  settings = {
    "stages": {"photos": 30, "kept": 24},
    "rejected_by_reason": {"no face found": 1, "the photo is gone": 5},
    "licences": {"photographs": "<asked>"},
    "seed": 3,
  }
  write_dataset(folder, splits, MORPHABLE_MODEL, settings, records_per_file=15)
  return folder


def _plant(folder: pathlib.Path, name: str, row: int, **changes) -> None:
  """Changes a record of a split's first file as no writer of ours would."""
  (path, *_) = sorted(folder.glob(f"{name}-*.array_record"))
  reader = ArrayRecordReader(str(path))
  found = [decode_record(data) for data in reader.read_all()]
  reader.close()
  found[row].update(changes)
  writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
  for record in found:
    writer.write(flax.serialization.msgpack_serialize(record))
  writer.close()
  manifest = json.loads((folder / MANIFEST).read_text())
  for entry in manifest["splits"][name]["files"]:
    entry["sha256"] = sha256_of(folder / entry["name"])
  (folder / MANIFEST).write_text(json.dumps(manifest))


def _encoded(image: np.ndarray, kind: str, **options) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, kind, **options)
  return buffer.getvalue()


def _again(image: np.ndarray) -> np.ndarray:
  """The picture after JPEG."""
  return np.asarray(Image.open(io.BytesIO(_encoded(image, "JPEG", quality=50))))


_SPOILT = np.zeros(12, np.float32)
_SPOILT[3] = np.nan
_LARGE = np.zeros(12, np.float32)
_LARGE[3] = -12.5
_FAR = np.full((68, 2), 40.0, np.float32)
_FAR[5] = (40.0, 150.0)
_MIRROR = np.diag([1.0, 1.0, -1.0]).astype(np.float32)


class InspectDatasetTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = pathlib.Path(self.create_tempdir().full_path)
    self.folder = _write(scratch / "dataset")
    self.page = scratch / "pages" / "page.html"

  def _violations(self, *limits) -> list[str]:
    found = check_dataset(self.folder, *limits)
    return [str(violation) for violation in found.violations]

  def _page(self) -> str:
    return inspection_page(check_dataset(self.folder), shown=2)

  def _edit_manifest(self, change) -> None:
    path = self.folder / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))

  def test_a_sound_dataset_has_no_violation_and_gets_a_page(self):
    found = check_dataset(self.folder)
    self.assertEqual(found.violations, [])
    self.assertEqual(list(found.splits), ["train", "heldout"])
    self.assertLen(found.splits["heldout"], 4)
    self.assertEqual(
      [photo.image_id for photo in found.splits["train"]],
      [f"s{person}/{i}" for person in range(4) for i in range(5)],
    )
    content = self._page()
    self.assertIn("Nothing wrong was found.", content)
    # Two sheets and five charts; every person has equally many photos.
    self.assertEqual(content.count('<img src="data:image/png;base64,'), 7)
    for text in (
      "Licence of photographs: &lt;asked&gt;",
      "Licence of random points: Apache-2.0",
      ">photos</td><td>30<",
      ">aligned</td><td>–<",
      ">the photo is gone</td><td>5<",
      "&quot;seed&quot;: 3",
    ):
      self.assertIn(text, content)
    self.assertNotRegex(content, '(src|href)="(?!data:|#)')

  @parameterized.named_parameters(
    (
      "not_finite",
      {"identity_coefficients": _SPOILT},
      r"record: train/s1/1: record 6: .*identity_coefficients.*finite",
    ),
    (
      "large",
      {"identity_coefficients": _LARGE},
      r"coefficients: train/s1/1: expected identity .* within 10 .* got 12\.5",
    ),
    (
      "large_expression",
      {"expression_coefficients": np.full(5, 11, np.float32)},
      r"coefficients: train/s1/1: expected expression .* got 11",
    ),
    (
      "other_size",
      {"identity_coefficients": np.zeros(9, np.float32)},
      r"record: train/s1/1: .* shape \[12\] as manifest.json says, got \[9\]",
    ),
    (
      "landmark",
      {"landmarks": _FAR},
      r"landmarks: train/s1/1: .* than 32 px, got 39\.0",
    ),
    (
      "blank",
      {"image": encode_image(np.full((112, 96, 3), 77, np.uint8))},
      r"blank image: train/s1/1: expected .* 4 or more, got 0\.00",
    ),
    (
      "no_image",
      {"image": b"\x89PNG no more"},
      r"record: train/s1/1: record 6: image: expected PNG",
    ),
    (
      "small_image",
      {"image": _encoded(smooth_picture(1)[:90], "PNG")},
      r"record: train/s1/1: record 6: image: expected 112 x 96",
    ),
    (
      "camera",
      {"camera_scale": np.float32(0)},
      r"camera: train/s1/1: expected a camera scale over 0, got 0",
    ),
    (
      "reflection",
      {"camera_rotation": _MIRROR},
      r"camera: train/s1/1: expected a camera with a rotation",
    ),
    (
      "label",
      {"label": 3},
      r"label: train/s1/1: expected label 1 as 's1' had before, got 3",
    ),
    (
      "two_people_of_a_label",
      {"subject": "else"},
      r"label: train/s1/1: .* than 1, which is that of 's1', for 'else'",
    ),
    (
      "image_id",
      {"image_id": "s0/0"},
      r"image id: train/s0/0: expected each once, got it in 'train' already",
    ),
  )
  def test_a_bad_record_is_named(self, changes, message):
    _plant(self.folder, "train", 6, **changes)
    found = self._violations()
    self.assertRegex(found[0], f"^{message}")
    # What follows from it is counted once more at most.
    self.assertLessEqual(len(found), 2)

  def test_the_page_shows_what_is_wrong(self):
    _plant(self.folder, "train", 6, landmarks=_FAR)
    _plant(self.folder, "train", 7, image=b"none")
    _plant(self.folder, "heldout", 1, image=encode_image(smooth_picture(3)))
    content = self._page()
    self.assertIn("23 photos, 4 violations", content)
    # A picture of each, with its caption; not of what cannot be read.
    for text in ("landmarks: train/s1/1", "exact duplicate: heldout/h0/1"):
      self.assertRegex(content, f'alt="{text}: ')
    self.assertNotIn('alt="record', content)
    self.assertIn("record 7: image: expected PNG", content)

  def test_hidden_landmarks_may_be_anywhere_and_limits_may_be_moved(self):
    hidden = np.ones(68, np.float32)
    hidden[5] = 0
    _plant(self.folder, "train", 6, landmarks=_FAR, visibility=hidden)
    _plant(self.folder, "train", 7, landmarks=_FAR)
    self.assertLen(self._violations(), 1)
    self.assertEqual(self._violations(Limits(landmark_margin_px=40)), [])

  def test_a_person_in_two_splits_is_named(self):
    for row in (0, 1):
      _plant(self.folder, "heldout", row, subject="s2")
    self.assertEqual(
      self._violations(),
      ["person in two splits: heldout/s2: expected nobody of 'train'"],
    )

  def test_a_copy_in_another_file_format_is_exact(self):
    image = _encoded(smooth_picture(7), "PNG", compress_level=9)
    _plant(self.folder, "heldout", 3, image=image)
    self.assertEqual(
      self._violations(),
      ["exact duplicate: heldout/h1/1: the pixels of train/s1/2"],
    )

  def test_a_copy_after_jpeg_is_near(self):
    image = _again(smooth_picture(7))
    self.assertGreater(np.abs(image - smooth_picture(7)).max(), 0)
    _plant(self.folder, "heldout", 3, image=encode_image(image))
    (found,) = self._violations()
    self.assertRegex(
      found,
      r"^near duplicate: heldout/h1/1: \d bits from train/s1/2, corr.* 0\.99",
    )
    self.assertEqual(self._violations(Limits(near_correlation=1.1)), [])

  def test_repeats_of_a_person_are_told_and_those_of_two_are_wrong(self):
    image = encode_image(smooth_picture(0))
    _plant(self.folder, "train", 1, image=image)
    self.assertEqual(self._violations(), [])
    self.assertIn("<td>5</td><td>1</td><td>0</td></tr>", self._page())
    _plant(self.folder, "train", 14, image=image)
    self.assertEqual(
      self._violations(),
      [
        "two people's photo: train/s2/4: expected pictures of 's2' alone, got"
        " the pixels of s0/0, which is 's0'"
      ],
    )
    self.assertIn("<td>5</td><td>2</td><td>1</td></tr>", self._page())

  def test_labels_with_a_hole_are_named(self):
    self._edit_manifest(lambda m: m.update(num_classes=6))
    self.assertEqual(
      self._violations(),
      [
        "label: train: expected labels 0 to 5 as manifest.json says; missing"
        " 4, 5, beyond none"
      ],
    )
    self._edit_manifest(lambda m: m.update(num_classes=4))
    for row in (2, 3):
      _plant(self.folder, "heldout", row, label=5)
    self.assertEqual(
      self._violations(),
      ["label: heldout: expected labels 0 to 5 without a hole, got 2 of them"],
    )

  def test_other_counts_are_named(self):
    def fewer(manifest):
      manifest["splits"]["heldout"].update(num_people=3, num_records=5)
      manifest["splits"]["heldout"]["files"][0]["num_records"] = 5

    self._edit_manifest(fewer)
    file = "heldout-00000-of-00001.array_record"
    self.assertEqual(
      self._violations(),
      [
        f"file: {file}: expected 5 records as manifest.json says, got 4",
        "count: heldout: expected 5 records that can be read as manifest.json"
        " says, got 4",
        "count: heldout: expected 3 people as manifest.json says, got 2",
      ],
    )

  def test_every_file_that_is_not_the_one_written_is_named(self):
    first, second = sorted(self.folder.glob("train-*"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    second.unlink()
    (self.folder / "morphable_model.npz").write_bytes(b"another")
    (self.folder / "stray.array_record").write_bytes(b"")
    found = self._violations()
    for start in (
      f"file: {first.name}: expected sha256",
      f"file: {second.name}: no such file, but manifest.json names it",
      "file: morphable_model.npz: expected sha256",
      "file: stray.array_record: not in manifest.json",
    ):
      self.assertLen([text for text in found if text.startswith(start)], 1)

  def test_a_truncated_file_is_named_and_the_rest_still_checked(self):
    first, _ = sorted(self.folder.glob("train-*"))
    first.write_bytes(first.read_bytes()[:1000])
    _plant(self.folder, "heldout", 0, camera_scale=np.float32(-1))
    found = "\n".join(self._violations())
    self.assertRegex(found, f"(?m)^file: {first.name}: expected sha256")
    self.assertRegex(found, "(?m)^camera: heldout/h0/0: ")

  def test_a_malformed_manifest_is_one_error(self):
    self._edit_manifest(lambda m: m["splits"]["train"].pop("files"))
    with self.assertRaisesRegex(ValueError, "manifest.json: expected splits"):
      self._violations()

  def test_the_binary_says_it_in_lines_and_in_its_exit_status(self):
    def run():
      return subprocess.run(
        [
          sys.executable,
          "-m",
          "data_prep.inspect_dataset",
          f"--dataset={self.folder}",
          f"--output_file={self.page}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=REPOSITORY,
        check=False,
      )

    good = run()
    self.assertEqual((good.returncode, good.stderr), (0, ""))
    self.assertEqual(
      good.stdout,
      "train: 20 photos, 4 people\nheldout: 4 photos, 2 people\n"
      f"{self.folder}: nothing wrong was found; {self.page}\n",
    )
    _plant(self.folder, "train", 6, landmarks=_FAR)
    _plant(self.folder, "heldout", 2, camera_scale=np.float32(0))
    bad = run()
    self.assertEqual((bad.returncode, bad.stdout), (1, ""))
    lines = bad.stderr.splitlines()
    self.assertLen(lines, 2)
    self.assertStartsWith(lines[0], "landmarks: train/s1/1: ")
    self.assertStartsWith(lines[1], "camera: heldout/h1/0: ")


if __name__ == "__main__":
  absltest.main()
