import pathlib
import tempfile

from absl.testing import absltest, parameterized
import cv2
import numpy as np
from PIL import Image

from data_prep.faces.alignment import align_faces
from data_prep.photos.crops import (
  ARCFACE,
  WHOLE_FACE,
  crop_matrix,
  template_in,
  warp_crop,
)
from data_prep.photos.photo_sets import read_photo
from data_prep.stages.about import write_about
from data_prep.stages.folder import Share
from data_prep.stages.rows import (
  PhotoRow,
  manifest_path,
  read_rows,
  write_manifest,
)
from disentangle3d.crop_templates import LANDMARK_TEMPLATE
from disentangle3d.types import CROP_TEMPLATE


def _similarity(scale: float, degrees: float, shift) -> np.ndarray:
  a = np.radians(degrees)
  turn = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
  return np.concatenate([turn, np.reshape(shift, (2, 1))], 1)


def _blobs(points: np.ndarray, size, sigma: float) -> np.ndarray:
  """A photo with a bright blob at each point (x, y)."""
  y, x = np.mgrid[: size[0], : size[1]]
  image = np.zeros(size)
  for px, py in points:
    image += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
  return np.repeat((255 * image.clip(0, 1)).astype(np.uint8)[..., None], 3, -1)


class AlignFacesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  @parameterized.named_parameters(
    ("enlarged", 0.6, 20, (400, 300)),
    ("as_it_is", 1.0, 0, (400, 300)),
    ("shrunk", 3.0, -15, (900, 900)),
    ("much_shrunk", 7.0, 40, (1500, 1500)),
  )
  def test_the_five_points_come_to_the_template(self, scale, degrees, size):
    middle = np.array(size[::-1]) / 2
    to_photo = _similarity(scale, degrees, (0, 0))
    to_photo[:, 2] = middle - to_photo[:, :2] @ CROP_TEMPLATE.mean(0)
    points = CROP_TEMPLATE @ to_photo[:, :2].T + to_photo[:, 2]
    matrix = crop_matrix(points)
    np.testing.assert_allclose(
      points @ matrix[:, :2].T + matrix[:, 2], CROP_TEMPLATE, atol=1e-2
    )
    crop = warp_crop(_blobs(points, size, 2.5 * scale), matrix)
    self.assertEqual(crop.shape, (112, 96, 3))
    for x, y in CROP_TEMPLATE:
      window = crop[..., 0].astype(float)
      rows, columns = np.mgrid[:112, :96]
      near = np.hypot(rows - y, columns - x) < 8
      weight = window * near
      centre = [
        (weight * columns).sum() / weight.sum(),
        (weight * rows).sum() / weight.sum(),
      ]
      np.testing.assert_allclose(centre, [x, y], atol=0.15)

  def test_a_shrunk_photo_is_averaged_not_sampled(self):
    photo = np.zeros((1000, 1000, 3), np.uint8)
    photo[::2] = 255  # stripes that sampling would miss or take whole
    crop = warp_crop(photo, _similarity(0.12, 3, (0, 0)))
    self.assertBetween(crop[20:90, 20:70].min(), 100, 155)
    self.assertBetween(crop[20:90, 20:70].max(), 100, 155)

  def test_a_shrunk_crop_is_of_the_whole_photo_shrunk(self):
    y, x = np.mgrid[:700, :900].astype(np.float32)
    photo = np.stack(
      [127 + 120 * np.sin(x / 40), 127 + 120 * np.cos(y / 50), (x + y) / 7], -1
    ).astype(np.uint8)
    for scale, degrees, centre in (
      (0.2, 25, (430, 350)),
      (0.31, -40, (20, 680)),
      (0.45, 0, (890, 10)),
      (0.07, 8, (450, 350)),
    ):
      with self.subTest(scale=scale):
        matrix = _similarity(scale, degrees, (0, 0)).astype(np.float64)
        matrix[:, 2] = (48, 56) - matrix[:, :2] @ centre
        # Twice as large as the crop, then by bilinear interpolation.
        size = np.round(np.array([900, 700]) * 2 * scale).astype(int)
        small = cv2.resize(photo, size.tolist(), interpolation=cv2.INTER_AREA)
        grow = np.array([900, 700]) / size
        shift = matrix[:, :2] @ (0.5 * grow - 0.5) + matrix[:, 2]
        from_small = np.concatenate(
          [matrix[:, :2] * grow[None], shift[:, None]], 1
        )
        whole = cv2.warpAffine(small, from_small, (96, 112)).astype(int)
        crop = warp_crop(photo, matrix).astype(int)
        black = (whole == 0).all(-1) | (crop == 0).all(-1)
        inside = ~cv2.dilate(black.astype(np.uint8), np.ones((3, 3))) > 254
        self.assertGreater(inside.mean(), 0.2)
        difference = np.abs(whole - crop)[inside]
        self.assertLess(difference.max(), 12)
        self.assertLess(difference.mean(), 1)
        self.assertLess(((whole == 0) != (crop == 0)).all(-1).mean(), 0.01)

  def test_a_crop_beside_the_photo_is_black(self):
    photo = np.full((500, 500, 3), 200, np.uint8)
    for corner in ((300, 0), (-300, 0), (0, -300)):
      crop = warp_crop(photo, _similarity(0.2, 0, corner))
      self.assertEqual(crop.shape, (112, 96, 3))
      self.assertEqual(crop.max(), 0)

  def test_outside_the_photo_is_black(self):
    photo = np.full((50, 50, 3), 200, np.uint8)
    crop = warp_crop(photo, _similarity(1, 0, (60, 30)))
    self.assertEqual(crop[10, 10].max(), 0)
    self.assertEqual(crop[50, 80].min(), 200)

  def test_coinciding_points_are_refused(self):
    with self.assertRaisesRegex(ValueError, "the five points coincide"):
      crop_matrix(np.ones((5, 2)))

  def _located(self, rows) -> pathlib.Path:
    located = self.folder / "located"
    located.mkdir()
    write_manifest(manifest_path(located), rows)
    write_about(
      located, "test", settings={}, licences={"photos": "x"}, counts={}
    )
    return located

  def _row(self, name: str, **changes) -> PhotoRow:
    values = {
      "image_path": self.folder / "photos" / name,
      "subject": "a",
      "image_id": name,
      "status": "ok",
      "box": np.zeros(4),
      "five_points": CROP_TEMPLATE,
      "landmarks": np.zeros((68, 2)),
      "visibility": np.ones(68),
    }
    return PhotoRow(**(values | changes))

  def test_crops_are_written_and_failures_carried(self):
    photo = np.random.default_rng(0).integers(0, 256, (112, 96, 3), np.uint8)
    (self.folder / "photos" / "a").mkdir(parents=True)
    Image.fromarray(photo).save(self.folder / "photos" / "a" / "1.png")
    (self.folder / "photos" / "text.jpg").write_text("no image")
    located = self._located(
      [
        self._row("a/1.png"),
        self._row("text.jpg"),
        self._row("gone.png"),
        self._row("flat.png", five_points=np.ones((5, 2))),
        self._row("old.png", status="rejected", reason="no face found"),
      ]
    )
    counts = align_faces(located, self.folder / "aligned")
    rows = read_rows(self.folder / "aligned")
    self.assertEqual(counts["ok"], 1)
    self.assertEqual(
      [row.reason for row in rows],
      [
        "",
        "cannot be read as an image",
        "the photo is gone",
        "the five points coincide",
        "no face found",
      ],
    )
    np.testing.assert_allclose(
      rows[0].crop_from_photo, [[1, 0, 0], [0, 1, 0]], atol=1e-5
    )
    self.assertEqual(
      rows[0].crop_path, self.folder / "aligned" / "crops" / "a" / "1.png.png"
    )
    with Image.open(rows[0].crop_path) as file:
      crop = np.asarray(file)
    # OpenCV warps in steps of 1/32 pixel.
    np.testing.assert_allclose(crop.astype(int), photo, atol=8)

  def test_nothing_to_crop_is_an_error_with_its_reasons(self):
    located = self._located([self._row("gone.png")])
    with self.assertRaisesRegex(
      ValueError, "none of 1 photos is ok.*1 rejected, the photo is gone"
    ):
      align_faces(located, self.folder / "aligned")

  def test_the_arcface_template_is_as_published(self):
    np.testing.assert_allclose(
      ARCFACE.points,
      [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
      ],
      atol=1e-4,
    )
    photo = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    (self.folder / "photos").mkdir()
    Image.fromarray(photo).save(self.folder / "photos" / "1.png")
    located = self._located([self._row("1.png", five_points=ARCFACE.points)])
    align_faces(located, self.folder / "aligned", template=ARCFACE)
    (row,) = read_rows(self.folder / "aligned", aligned=True)
    crop = read_photo(row.crop_path)
    np.testing.assert_allclose(crop.astype(int), photo, atol=8)
    np.testing.assert_allclose(row.crop_from_photo, np.eye(2, 3), atol=1e-5)
    about = (self.folder / "aligned" / "about.json").read_text()
    self.assertIn("ArcFace, 112 x 112", about)

  def test_the_whole_face_is_aligned_by_its_landmarks(self):
    photo = np.random.default_rng(0).integers(0, 256, (112, 96, 3), np.uint8)
    (self.folder / "photos").mkdir()
    Image.fromarray(photo).save(self.folder / "photos" / "1.png")
    rows = [
      self._row("1.png", landmarks=LANDMARK_TEMPLATE),
      self._row("1.png", image_id="2", landmarks=None, visibility=None),
      self._row("1.png", image_id="3"),
    ]
    align_faces(
      self._located(rows), self.folder / "aligned", template=WHOLE_FACE
    )
    whole, *others = read_rows(self.folder / "aligned")
    np.testing.assert_allclose(whole.crop_from_photo, np.eye(2, 3), atol=1e-5)
    self.assertEqual(
      [row.reason for row in others], ["no landmarks", "the landmarks coincide"]
    )
    about = (self.folder / "aligned" / "about.json").read_text()
    self.assertIn("all 68 landmarks, 112 x 96", about)

  def test_a_stage_says_what_it_aligned_by(self):
    for settings, expected in (
      ({"crop_template": WHOLE_FACE.title}, "whole_face"),
      ({"crop_template": ARCFACE.title}, "arcface"),
      ({"write": "aligned", "template": "whole_face"}, "whole_face"),
      ({"write": "aligned"}, "sphereface"),
    ):
      self.assertEqual(template_in(settings), expected)

  def test_shares_of_shards_and_what_is_done_is_kept(self):
    photo = np.random.default_rng(0).integers(0, 256, (112, 96, 3), np.uint8)
    (self.folder / "photos").mkdir()
    located = self.folder / "located"
    located.mkdir()
    for shard in range(3):
      name = f"{shard}.png"
      Image.fromarray(photo).save(self.folder / "photos" / name)
      write_manifest(manifest_path(located, shard, 3), [self._row(name)])
    write_about(located, "test", settings={}, licences={}, counts={})
    output = self.folder / "aligned"
    self.assertIsNone(align_faces(located, output, share=Share(1, 2)))
    self.assertEqual(
      [path.name for path in (output / "crops").iterdir()], ["1.png.png"]
    )
    kept = manifest_path(output, 1, 3).stat().st_mtime_ns
    self.assertEqual(align_faces(located, output), {"ok": 3})
    self.assertEqual(manifest_path(output, 1, 3).stat().st_mtime_ns, kept)
    with self.assertRaisesRegex(ValueError, "begun with crop_template"):
      align_faces(located, output, template=ARCFACE)


if __name__ == "__main__":
  absltest.main()
