"""All stages by one command, as a process."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

from absl.testing import absltest, parameterized
import numpy as np
from PIL import Image
import pytest

from data_prep.datasets.preparation import (
  parse_options,
  plan_steps,
  prepare_dataset,
)
from data_prep.stages.about import read_counts, read_licences
from data_prep.stages.folder import Share
from data_prep.stages.rows import manifest_path, read_rows
from disentangle3d.faces.morphable_model import save_morphable_model
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.geometry import five_points
from disentangle3d.training.dataset import open_dataset
from experiments.benchmarks.known_faces import known_faces
from tests.data_prep import orl_faces
from tests.fixtures import REPOSITORY
from tests.killing import run_parent_killed

_PEOPLE, _PHOTOS = 3, 2


def _command(images: pathlib.Path, folder: pathlib.Path, *more: str):
  return [
    sys.executable,
    "-m",
    "data_prep.prepare_dataset",
    f"--photos={images}",
    f"--morphable_model={folder / 'model.npz'}",
    f"--output={folder / 'prepared'}",
    "--heldout_people=1",
    *more,
  ]


def _run(command, *, status: int = 0) -> str:
  done = subprocess.run(
    command,
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
    timeout=280,
    check=False,
  )
  if done.returncode != status:
    raise AssertionError(f"exit status {done.returncode}: {done.stderr}")
  return done.stderr


class PlanTest(parameterized.TestCase):
  def test_each_stage_reads_what_the_one_before_writes(self):
    options = parse_options(
      ["detect_faces.factor=0.7", "fit_faces.contour=on", "detect_faces.x=a=b"]
    )
    steps = plan_steps("photos.zip", "m.npz", pathlib.Path("out"), options)
    commands = [step.shown().split()[1:] for step in steps]
    self.assertEqual(
      commands,
      [
        [
          "-m",
          "data_prep.detect_faces",
          "--photos=photos.zip",
          "--output=out/detected",
          "--factor=0.7",
          "--x=a=b",
        ],
        [
          "-m",
          "data_prep.locate_landmarks",
          "--detected=out/detected",
          "--output=out/located",
        ],
        [
          "-m",
          "data_prep.align_faces",
          "--located=out/located",
          "--output=out/aligned",
        ],
        [
          "-m",
          "data_prep.fit_faces",
          "--aligned=out/aligned",
          "--morphable_model=m.npz",
          "--output=out/fitted",
          "--contour=on",
        ],
        [
          "-m",
          "data_prep.build_dataset",
          "--fitted=out/fitted",
          "--output=out/dataset",
        ],
      ],
    )

  @parameterized.parameters(
    ("detect_faces", "expected stage.flag=value, got 'detect_faces'"),
    ("factor=0.7", "expected stage.flag=value"),
    ("fit_faces.shard=0/2", "fit_faces.shard: set by prepare_dataset itself"),
    ("fit_faces.model=x", "fit_faces.model: set by prepare_dataset itself"),
  )
  def test_what_cannot_be_set_is_refused(self, text, message):
    with self.assertRaisesRegex(ValueError, f"--set: {message}"):
      parse_options([text])

  def test_an_unknown_stage_is_named(self):
    with self.assertRaisesRegex(ValueError, "fit_faces.*got one of 'fit'"):
      plan_steps("a", "b", pathlib.Path("c"), {"fit": {"x": "1"}})


class SharesTest(absltest.TestCase):
  def test_a_share_that_fails_stops_those_that_wait_for_it(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    # There are no photos, so the first stage fails.
    steps = plan_steps(str(folder / "none"), "m.npz", folder / "out", {})
    self.assertFalse(prepare_dataset(steps, folder / "out", share=Share(0, 2)))
    with self.assertRaisesRegex(
      ValueError, "--shard=0/2 failed in detect_faces.* run that and this again"
    ):
      prepare_dataset(steps, folder / "out", share=Share(1, 2))


class PrepareDatasetTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.output = self.folder / "prepared"
    self.model = procedural_face_model(
      num_vertices=1_000, identity_dim=10, expression_dim=3
    )
    save_morphable_model(self.folder / "model.npz", self.model)

  def _write_known_faces(self) -> list[str]:
    """Photos, their landmarks and five points; the flags that name them."""
    faces = known_faces(self.model, _PEOPLE, _PHOTOS, noise_px=0.3)
    lines = []
    for person, photo in np.ndindex(_PEOPLE, _PHOTOS):
      name = f"p{person}/{photo}"
      landmarks = faces.landmarks[person, photo]
      for kind, suffix in (("photos", ".png"), ("points", ".pts")):
        (self.folder / kind / f"p{person}").mkdir(parents=True, exist_ok=True)
        path = (self.folder / kind / name).with_suffix(suffix)
        if suffix == ".png":
          image = np.full((112, 96, 3), 60 + 20 * person, np.uint8)
          Image.fromarray(image).save(path)
        else:
          xy = "\n".join(f"{x + 1} {y + 1}" for x, y in landmarks)
          path.write_text(f"version: 1\nn_points: 68\n{{\n{xy}\n}}\n")
      five = np.asarray(five_points(landmarks)).ravel()
      lines.append(f"{name}.png " + " ".join(map(str, five)))
    # In the list, but no image.
    (self.folder / "photos" / "p0" / "9.jpg").write_text("no image")
    lines.append(lines[0].replace("p0/0.png", "p0/9.jpg"))
    (self.folder / "list.txt").write_text("\n".join(lines))
    return [
      f"--set=detect_faces.five_points={self.folder / 'list.txt'}",
      "--set=detect_faces.photos_per_shard=1",
      "--locator=pts",
      f"--set=locate_landmarks.points={self.folder / 'points'}",
      # These landmarks stay at their vertices.
      "--set=fit_faces.contour=off",
      "--photo_licence=mine",
    ]

  @pytest.mark.slow
  @pytest.mark.timeout(900)
  def test_a_killed_run_goes_on_to_the_dataset(self):
    flags = self._write_known_faces()
    command = _command(self.folder / "photos", self.folder, *flags)
    status = run_parent_killed(
      *command[2:], pattern="*/located/manifest-*.jsonl", after=2
    )
    self.assertEqual(status, -9)
    made = manifest_path(self.output / "located", 1, 7)
    kept = made.stat().st_mtime_ns
    self.assertFalse(manifest_path(self.output / "located", 2, 7).exists())
    said = _run(command)
    self.assertEqual(made.stat().st_mtime_ns, kept)
    self.assertIn("5 of 5: build_dataset", said)
    rows = read_rows(self.output / "fitted", aligned=True)
    self.assertEqual(
      {row.image_id: row.reason for row in rows if row.status != "ok"},
      {"p0/9.jpg": "cannot be read as an image"},
    )
    counts = {"ok": 6, "rejected, cannot be read as an image": 1}
    self.assertEqual(read_counts(self.output), counts)
    self.assertEqual(read_licences(self.output)["photographs"], "mine")
    dataset = self.output / "dataset"
    train, heldout = (open_dataset(dataset, n) for n in ("train", "heldout"))
    self.assertEqual((train.num_people, heldout.num_people), (2, 1))
    page = (self.output / "photos.html").read_text()
    self.assertEqual(page.count("data:image/jpeg"), 7)
    self.assertIn("p0/9.jpg: cannot be read as an image", page)
    self.assertIn("--locator=pts", page)
    # Once more: nothing is left to do.
    before = (dataset / "manifest.json").read_bytes()
    _run(command)
    self.assertEqual((dataset / "manifest.json").read_bytes(), before)
    # Other flags are another job.
    said = _run([*command, "--heldout_people=2"], status=1)
    self.assertRegex(said, "ERROR: .*begun with build_dataset.heldout_people")
    # Nothing depends on it any more.
    shutil.rmtree(dataset)
    _run([*command, "--heldout_people=2"])
    self.assertEqual(open_dataset(dataset, "heldout").num_people, 2)

  def test_what_a_later_stage_would_refuse_is_told_before_the_first(self):
    flags = self._write_known_faces()
    photos = self.folder / "photos"
    said = _run(
      _command(photos, self.folder, *flags, "--set=fit_faces.contuor=on"),
      status=1,
    )
    self.assertEqual(
      said,
      "ERROR: --set=fit_faces.contuor: no such flag; did you mean contour?"
      " (--help lists the flags)\n",
    )
    marks = self.folder / "marks.npz"
    said = _run(
      _command(photos, self.folder, *flags, f"--landmark_calibration={marks}"),
      status=1,
    )
    self.assertStartsWith(said, f"ERROR: {marks}: no such file; make one with")
    said = _run(_command(self.folder / "gone", self.folder), status=1)
    self.assertEqual(
      said, f"ERROR: --photos: {self.folder}/gone: no such file or folder\n"
    )
    self.assertFalse(self.output.exists())

  @pytest.mark.slow
  def test_photographs(self):
    photos = orl_faces.skip_unless_there(self)
    orl_faces.locator()
    for person in ("s2", "s5", "s10"):
      (self.folder / "photos" / person).mkdir(parents=True)
      for name in ("1.pgm", "2.pgm"):
        target = self.folder / "photos" / person / name
        shutil.copy(photos / person / name, target)
    blank = Image.fromarray(np.full((112, 92), 90, np.uint8))
    blank.save(self.folder / "photos" / "s2" / "blank.png")
    archive = shutil.make_archive(
      str(self.folder / "set"), "zip", self.folder, "photos"
    )
    _run(
      _command(
        pathlib.Path(archive),
        self.folder,
        "--set=detect_faces.factor=0.709",
        "--pictures=4",
      )
    )
    rows = read_rows(self.output / "fitted", aligned=True)
    self.assertEqual(
      {row.image_id: row.reason for row in rows if row.status != "ok"},
      {"s2/blank.png": "no face found"},
    )
    self.assertEqual(
      {row.detector for row in rows if row.status == "ok"}, {"MTCNN + dlib 68"}
    )
    # Met within a tenth of the face's size, or they were rejected.
    self.assertLen([row for row in rows if row.status == "ok"], 6)
    page = (self.output / "photos.html").read_text()
    self.assertEqual(page.count("data:image/jpeg"), 4)
    self.assertIn("s2/blank.png: no face found", page)


if __name__ == "__main__":
  absltest.main()
