import json
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest
import numpy as np

from data_prep.fit_faces import fit_faces
from data_prep.fit_files import MORPHABLE_MODEL, fits_path, read_fits
from data_prep.manifests import (
  PhotoRow,
  manifest_path,
  read_manifest,
  write_about,
  write_manifest,
)
from disentangle3d.faces.morphable_model import (
  landmark_points,
  load_morphable_model,
  save_morphable_model,
  synthesize_shape,
)
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.geometry import (
  Camera,
  apply_affine,
  invert_affine,
  project,
  rotation_from_euler,
)
from experiments.known_faces import known_faces
from tests.fixtures import REPOSITORY, random_morphable_model

_PEOPLE, _PHOTOS = 3, 2
_MODEL = random_morphable_model(identity_dim=6, expression_dim=3)


def _matrix(index: int) -> np.ndarray:
  """A turned, shrunken and shifted `crop_from_photo`."""
  turn = rotation_from_euler(*np.float32([0, 0, 0.1 * index]))
  return np.concatenate(
    [0.3 * np.asarray(turn)[:2, :2], np.float32([[-20], [7 * index]])], 1
  )


def _write_aligned(folder: pathlib.Path) -> np.ndarray:
  """Two shards, every person in both; returns the crop's landmarks."""
  faces = known_faces(_MODEL, _PEOPLE, _PHOTOS, noise_px=0.5)
  shards = [[], []]
  crop_landmarks = {}
  for person, photo in np.ndindex(_PEOPLE, _PHOTOS):
    matrix = _matrix(person + photo)
    image_id = f"p{person}/{photo}.jpg"
    crop = faces.landmarks[person, photo]
    crop_landmarks[image_id] = crop
    row = PhotoRow(
      image_path=folder / image_id,
      subject=f"p{person}",
      image_id=image_id,
      status="ok",
      box=np.zeros(4),
      five_points=np.zeros((5, 2)),
      landmarks=np.asarray(apply_affine(invert_affine(matrix), crop)),
      visibility=np.ones(68, np.float32),
      crop_from_photo=matrix,
      crop_path=folder / "crops" / f"{image_id}.png",
    )
    if (person, photo) == (2, 0):
      row = row.rejected("no face found")
    if (person, photo) == (2, 1):
      row.visibility[3:] = 0
    shards[photo].append(row)
  for shard, rows in enumerate(shards):
    write_manifest(manifest_path(folder, shard, 2), rows)
  write_about(
    folder, "align_faces", settings={}, licences={"photos": "x"}, counts={}
  )
  return crop_landmarks


class FitFacesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.aligned = self.folder / "aligned"
    self.aligned.mkdir()
    self.output = self.folder / "fitted"
    self.crop_landmarks = _write_aligned(self.aligned)

  def test_fits_lie_on_the_crops_landmarks(self):
    fit_faces(self.aligned, _MODEL, self.output, options=FitOptions())
    model = load_morphable_model(self.output / MORPHABLE_MODEL)
    identities = {}
    for shard in range(2):
      manifest = manifest_path(self.output, shard, 2)
      rows = read_manifest(manifest, aligned=True)
      fits = read_fits(fits_path(manifest))
      kept = [row.image_id for row in rows if row.status == "ok"]
      self.assertEqual(fits.image_id.tolist(), kept)
      self.assertLen(kept, 2)
      shape = synthesize_shape(
        model, fits.identity_coefficients, fits.expression_coefficients
      )
      camera = Camera(
        fits.camera_scale, fits.camera_rotation, fits.camera_translation
      )
      seen = np.asarray(project(camera, landmark_points(model, shape)))
      crop = np.stack([self.crop_landmarks[name] for name in kept])
      distance = np.sqrt(np.sum((seen - crop) ** 2, -1).mean(-1))
      np.testing.assert_allclose(distance, fits.rmse_px, rtol=1e-2)
      np.testing.assert_array_less(fits.rmse_px, 1.0)
      for name, code in zip(kept, fits.identity_coefficients, strict=True):
        identities.setdefault(name[:2], []).append(code)
    # One identity a person, over both shards.
    for first, second in identities.values():
      np.testing.assert_array_equal(first, second)
    self.assertGreater(
      np.abs(identities["p0"][0] - identities["p1"][0]).max(), 0.1
    )

  def test_unusable_photos_are_kept_as_rejected(self):
    rows = fit_faces(self.aligned, _MODEL, self.output, options=FitOptions())
    reasons = {row.image_id: row.reason for row in rows if row.reason}
    self.assertEqual(
      reasons,
      {
        "p2/0.jpg": "no face found",
        "p2/1.jpg": "too few visible landmarks: 3",
      },
    )
    about = json.loads((self.output / "about.json").read_text())
    self.assertEqual(about["counts"]["ok"], 4)
    self.assertEqual(
      about["licences"], {"photos": "x", "random points": "Apache-2.0"}
    )

  def test_the_binary_names_file_and_row_of_bad_input(self):
    model = self.folder / "model.npz"
    save_morphable_model(model, _MODEL)
    path = manifest_path(self.aligned, 1, 2)
    for landmarks, problem in (
      ([[float("nan"), 1]] * 68, "expected finite numbers"),
      ([[1, 2]] * 67, r"expected \[68, 2\] numbers, got \[67, 2\]"),
    ):
      lines = path.read_text().splitlines()
      row = json.loads(lines[1]) | {"landmarks": landmarks}
      path.write_text("\n".join([lines[0], json.dumps(row), *lines[2:]]))
      done = subprocess.run(
        [
          sys.executable,
          "-m",
          "data_prep.fit_faces",
          f"--landmarks={self.aligned}",
          f"--model={model}",
          f"--output={self.output}",
        ],
        cwd=REPOSITORY,
        timeout=200,
        capture_output=True,
        text=True,
        check=False,
      )
      self.assertEqual(done.returncode, 1)
      self.assertRegex(
        done.stderr,
        f"ERROR: .*00001-of-00002.jsonl, row 2: landmarks: {problem}",
      )
      self.assertEqual(done.stderr.count("\n"), 1)
      self.assertFalse(self.output.exists())


if __name__ == "__main__":
  absltest.main()
