"""What a run keeps of photos that were looked at."""

import pathlib

from absl.testing import absltest
import numpy as np

from data_prep.faces.found_faces import FoundFace
from experiments.photographs.lines import Lines, Seen, SeenPhotos


def face(rng, *, located):
  points = rng.normal(size=(68, 2)).astype(np.float32)
  return FoundFace(
    crop=rng.integers(0, 256, (112, 96, 3), np.uint8),
    crop_from_photo=rng.normal(size=(2, 3)).astype(np.float32),
    box=rng.normal(size=4).astype(np.float32) if located else None,
    landmarks=points if located else None,
    visibility=np.full(68, float(located), np.float32),
    score=0.75,
    notes=("blurred",),
  )


class LinesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(self.create_tempdir().full_path) / "lines.jsonl"

  def test_what_was_cut_off_is_gone_and_the_rest_goes_on(self):
    lines = Lines(self.path)
    for number in range(4):
      lines.append({"number": number, "name": "Jos\udce9 \u2028"})
    self.path.write_bytes(self.path.read_bytes()[:-3])
    lines = Lines(self.path)
    self.assertLen(lines, 3)
    lines.append({"number": 9})
    found = [line["number"] for line in Lines(self.path).read(1, 4)]
    self.assertEqual(found, [1, 2, 9])

  def test_a_full_disk_is_named(self):
    full = pathlib.Path("/dev/full")
    if not full.exists():
      self.skipTest("no /dev/full")
    with self.assertRaisesRegex(OSError, "Errno 28.*/dev/full"):
      Lines(full).append({"number": 1})

  def test_photos_come_back_to_the_bit_without_their_crops(self):
    rng = np.random.default_rng(0)
    faces = (face(rng, located=True), face(rng, located=False))
    codes = tuple(
      (rng.normal(size=5).astype("f4"), rng.normal(size=3).astype("f4"))
      for _ in faces
    )
    SeenPhotos(self.path).append(Seen("a.jpg", "", ("grey",), faces, codes))
    (seen,) = SeenPhotos(self.path).read(0, 1)
    self.assertEqual(
      (seen.name, seen.reason, seen.notes), ("a.jpg", "", ("grey",))
    )
    for one, other in zip(seen.faces, faces, strict=True):
      self.assertEqual(one.crop.size, 0)
      self.assertEqual((one.score, one.notes), (other.score, other.notes))
      for name in ("crop_from_photo", "box", "landmarks", "visibility"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for one, other in zip(seen.codes, codes, strict=True):
      np.testing.assert_array_equal(np.concatenate(one), np.concatenate(other))


if __name__ == "__main__":
  absltest.main()
