import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import tempfile

from absl.testing import absltest
import numpy as np

from data_prep.fitting.fit_files import MORPHABLE_MODEL, fits_path, read_fits
from data_prep.fitting.shards import FitSettings
from data_prep.fitting.stage import fit_faces
from data_prep.stages.about import write_about
from data_prep.stages.folder import Share
from data_prep.stages.rows import (
  PhotoRow,
  list_manifests,
  manifest_path,
  read_rows,
  read_shard_rows,
  write_manifest,
)
from disentangle3d.faces.landmark_calibration import save_landmark_calibration
from disentangle3d.faces.morphable_model import (
  landmark_points,
  load_morphable_model,
  save_morphable_model,
  synthesize_shape,
)
from disentangle3d.geometry import (
  Camera,
  apply_affine,
  invert_affine,
  project,
  rotation_from_euler,
)
from experiments.benchmarks.known_faces import known_faces
from tests.fixtures import (
  REPOSITORY,
  random_calibration,
  random_morphable_model,
)
from tests.killing import run_killed

_PEOPLE, _PHOTOS = 3, 2
_POINTS = random_morphable_model(identity_dim=6, expression_dim=3)
# Triangles between random points cover the whole picture: few are enough.
_MODEL = dataclasses.replace(_POINTS, triangles=_POINTS.triangles[:1])
_SETTINGS = FitSettings(contour="off")


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
    fit_faces(self.aligned, _MODEL, self.output, settings=_SETTINGS)
    model = load_morphable_model(self.output / MORPHABLE_MODEL)
    identities = {}
    for manifest in list_manifests(self.output):
      rows = read_shard_rows(manifest, aligned=True)
      fits = read_fits(fits_path(manifest))
      kept = [row.image_id for row in rows if row.status == "ok"]
      self.assertEqual(fits.image_id.tolist(), kept)
      if not kept:
        continue
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
    self.assertLen(identities, 2)
    # One identity a person, over both shards of the input.
    for first, second in identities.values():
      np.testing.assert_array_equal(first, second)
    self.assertGreater(
      np.abs(identities["p0"][0] - identities["p1"][0]).max(), 0.1
    )

  def test_the_calibration_asked_for_is_used_and_told(self):
    calibration = random_calibration(_MODEL)
    path = self.folder / "marks.npz"
    save_landmark_calibration(path, calibration)
    fit_faces(
      self.aligned,
      _MODEL,
      self.output,
      settings=dataclasses.replace(
        _SETTINGS, landmark_calibration=str(path), max_relative_error=1.0
      ),
    )
    text = "random on random points: tests, seed 0"
    about = json.loads((self.output / "about.json").read_text())
    self.assertEqual(about["settings"]["landmark_calibration"], text)
    self.assertIn("landmark calibration of random points", about["licences"])
    summary = json.loads((self.output / "summary.json").read_text())
    self.assertEqual(summary["landmark_calibration"], text)
    self.assertIn(text, (self.output / "summary.html").read_text())
    model = load_morphable_model(self.output / MORPHABLE_MODEL)
    np.testing.assert_array_equal(
      model.landmark_calibration.offset_mm, calibration.offset_mm
    )
    fits = read_fits(fits_path(list_manifests(self.output)[0]))
    shape = synthesize_shape(
      model, fits.identity_coefficients, fits.expression_coefficients
    )
    camera = Camera(
      fits.camera_scale, fits.camera_rotation, fits.camera_translation
    )
    seen = np.asarray(project(camera, landmark_points(model, shape)))
    crop = np.stack([self.crop_landmarks[name] for name in fits.image_id])
    distance = np.sqrt(np.sum((seen - crop) ** 2, -1).mean(-1))
    np.testing.assert_allclose(distance, fits.rmse_px, rtol=1e-2)

  def test_unusable_photos_are_kept_as_rejected(self):
    counts = fit_faces(self.aligned, _MODEL, self.output, settings=_SETTINGS)
    rows = read_rows(self.output)
    reasons = {row.image_id: row.reason for row in rows if row.reason}
    self.assertLen(rows, 6)
    self.assertEqual(counts["ok"], 4)
    self.assertEqual(
      reasons,
      {"p2/0.jpg": "no face found", "p2/1.jpg": "too few visible landmarks: 3"},
    )
    about = json.loads((self.output / "about.json").read_text())
    self.assertEqual(about["counts"]["ok"], 4)
    self.assertEqual(
      about["licences"], {"photos": "x", "random points": "Apache-2.0"}
    )

  def test_a_photo_that_no_face_fits_is_rejected(self):
    path = manifest_path(self.aligned, 0, 2)
    rows = read_shard_rows(path)
    noise = np.random.default_rng(0).uniform(0, 300, (68, 2))
    rows[0] = dataclasses.replace(rows[0], landmarks=noise.astype(np.float32))
    write_manifest(path, rows)
    fit_faces(self.aligned, _MODEL, self.output, settings=_SETTINGS)
    reasons = {r.image_id: r.reason for r in read_rows(self.output)}
    self.assertRegex(
      reasons["p0/0.jpg"], "^landmarks met badly: error .* of the face's size$"
    )
    self.assertEqual(reasons["p0/1.jpg"], "")

  def test_bad_rows_are_listed_and_stop_the_run_or_are_skipped(self):
    path = manifest_path(self.aligned, 1, 2)
    lines = path.read_text().splitlines()
    bad = json.loads(lines[0])
    for change in (
      {"landmarks": [[float("nan"), 1]] * 68},
      {"landmarks": [[1, 2]] * 67},
      {"image_id": "p0/0.jpg"},
      {"subject": ""},
    ):
      lines.append(json.dumps(bad | {"image_id": f"x{len(lines)}"} | change))
    path.write_text("\n".join([*lines, "{}"]))
    with (
      self.assertLogs() as logs,
      self.assertRaisesRegex(
        ValueError, "row 4: landmarks: .*NaN or inf .and 4 more bad rows"
      ),
    ):
      fit_faces(self.aligned, _MODEL, self.output, settings=_SETTINGS)
    self.assertFalse(self.output.exists())
    self.assertLen(logs.output, 5)
    fit_faces(
      self.aligned,
      _MODEL,
      self.output,
      settings=dataclasses.replace(_SETTINGS, skip_bad=True),
    )
    skipped = json.loads((self.output / "skipped.json").read_text())
    self.assertEqual([row["row"] for row in skipped], [4, 5, 6, 7, 8])
    self.assertEqual(
      {row["file"] for row in skipped}, {"manifest-00001-of-00002.jsonl"}
    )
    for row, problem in zip(
      skipped,
      (
        "landmarks: expected finite",
        r"landmarks: expected \[68, 2\] numbers, got \[67, 2\]",
        "image_id 'p0/0.jpg' is already in manifest-00000-of-00002.jsonl, row",
        "subject: expected a name",
        "expected the key image_path",
      ),
      strict=True,
    ):
      self.assertRegex(row["problem"], problem)
    self.assertLen(read_rows(self.output), 6)
    summary = json.loads((self.output / "summary.json").read_text())
    self.assertEqual(summary["skipped_rows"], 5)

  def test_the_summary_says_what_the_files_hold(self):
    fit_faces(self.aligned, _MODEL, self.output, settings=_SETTINGS)
    summary = json.loads((self.output / "summary.json").read_text())
    fits = [read_fits(fits_path(m)) for m in list_manifests(self.output)]
    rmse = np.concatenate([fit.rmse_px for fit in fits])
    self.assertAlmostEqual(summary["rmse_px"]["50"], np.median(rmse), 4)
    ids = np.concatenate([fit.image_id for fit in fits])
    self.assertEqual(summary["worst"][0], summary["best"][-1])
    self.assertCountEqual(summary["worst"], ids)
    codes = np.concatenate([fit.expression_coefficients for fit in fits])
    np.testing.assert_allclose(
      summary["expression_coefficients"]["std_of_each_mode"],
      codes.std(0),
      atol=1e-3,
    )
    self.assertEqual(summary["identity_coefficients"]["vectors"], 2)
    page = (self.output / "summary.html").read_text()
    self.assertIn("too few visible landmarks: 3", page)

  def test_machines_share_the_work_and_get_the_same_fits(self):
    settings = dataclasses.replace(_SETTINGS, images_per_shard=1)
    fit_faces(self.aligned, _MODEL, self.output, settings=settings)
    shared = self.folder / "shared"
    first, second = Share(0, 2), Share(1, 2)
    self.assertIsNone(
      fit_faces(self.aligned, _MODEL, shared, settings=settings, share=first)
    )
    counts = fit_faces(
      self.aligned, _MODEL, shared, settings=settings, share=second
    )
    self.assertEqual(counts["ok"], 4)
    self.assertEqual(_contents(shared), _contents(self.output))
    with self.assertRaisesRegex(ValueError, "begun with images_per_shard 1"):
      fit_faces(self.aligned, _MODEL, shared, settings=_SETTINGS)

  def test_folders_of_pts_files_are_fitted_too(self):
    points = self.folder / "points"
    for row in read_rows(self.aligned):
      if row.status == "ok":
        path = points / row.image_id.replace(".jpg", ".pts")
        path.parent.mkdir(parents=True, exist_ok=True)
        body = "\n".join(f"{x + 1:.4f} {y + 1:.4f}" for x, y in row.landmarks)
        path.write_text(f"version: 1\nn_points: 68\n{{\n{body}\n}}\n")
    # A person's folder may be a link.
    (points / "p1").rename(self.folder / "elsewhere")
    (points / "p1").symlink_to(self.folder / "elsewhere")
    (points / "loose.pts").write_text("version: 1\nn_points: 68\n{\n}\n")
    with self.assertRaisesRegex(ValueError, "loose.pts: .*unknown subject"):
      fit_faces(points, _MODEL, self.output, settings=_SETTINGS)
    (points / "loose.pts").unlink()
    (points / "p0" / "0.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}")
    with self.assertRaisesRegex(ValueError, "0.pts: expected 68 points"):
      fit_faces(points, _MODEL, self.output, settings=_SETTINGS)
    (points / "p0" / "0.pts").unlink()
    counts = fit_faces(points, _MODEL, self.output, settings=_SETTINGS)
    self.assertEqual(counts["ok"], 4)
    self.assertEqual(
      [row.image_id for row in read_rows(self.output)],
      ["p0/1", "p1/0", "p1/1", "p2/1"],
    )

  def _flags(self, landmarks, output):
    model = self.folder / "model.npz"
    save_morphable_model(model, _MODEL)
    return [
      f"--aligned={landmarks}",
      f"--morphable_model={model}",
      f"--output={output}",
    ]

  def test_the_binary_names_file_and_row_of_bad_input(self):
    path = manifest_path(self.aligned, 1, 2)
    lines = path.read_text().splitlines()
    row = json.loads(lines[1]) | {"landmarks": [[1, 2]] * 67}
    path.write_text("\n".join([lines[0], json.dumps(row), *lines[2:]]))
    done = subprocess.run(
      [
        sys.executable,
        "-m",
        "data_prep.fit_faces",
        *self._flags(self.aligned, self.output),
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
      r"ERROR: .*00001-of-00002.jsonl, row 2: landmarks: expected \[68, 2\]"
      r" numbers, got \[67, 2\]",
    )
    self.assertEqual(done.stderr.count("\n"), 1)
    self.assertFalse(self.output.exists())

  def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(self):
    status = run_killed(
      "data_prep.fit_faces",
      *self._flags(self.aligned, self.output),
      "--contour=off",
      "--images_per_shard=1",
      pattern="manifest-*.jsonl",
      after=1,
    )
    self.assertEqual(status, -signal.SIGKILL)
    self.assertLen(list(self.output.glob("manifest-*")), 1)
    self.assertFalse((self.output / "summary.json").exists())
    (self.output / ".fits-00001-of-00002.npz.1.partial").write_text("half")
    settings = dataclasses.replace(_SETTINGS, images_per_shard=1)
    fit_faces(self.aligned, _MODEL, self.output, settings=settings)
    straight = self.folder / "straight"
    fit_faces(self.aligned, _MODEL, straight, settings=settings)
    self.assertLen(list_manifests(straight), 3)
    self.assertEqual(_contents(self.output), _contents(straight))


def _contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()}


if __name__ == "__main__":
  absltest.main()
