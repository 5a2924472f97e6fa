"""A person's folder whose name is Latin-1 goes through all stages."""

import os
import pathlib
import shutil
import tempfile
from unittest import mock

from absl.testing import absltest
import numpy as np
from PIL import Image

from data_prep.datasets.building import build_dataset
from data_prep.datasets.checks import check_dataset
from data_prep.datasets.inspection_page import inspection_page
from data_prep.faces.alignment import align_faces
from data_prep.faces.detection import detect_faces, mtcnn_source
from data_prep.faces.location import (
  locate_landmarks,
  rows_of_photos,
  rows_of_stage,
)
from data_prep.faces.locators import PtsLocator
from data_prep.faces.mtcnn.detector import Faces
from data_prep.fitting import shards, summary
from data_prep.fitting.photo_page import write_photo_page
from data_prep.fitting.shards import FitSettings
from data_prep.fitting.stage import fit_faces
from data_prep.photos.loose_photos import list_files, read_photos
from data_prep.photos.photo_sets import list_photos
from data_prep.stages.rows import read_rows
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.fitting.batched_fitting import ImageFits
from disentangle3d.geometry import Camera, five_points
from disentangle3d.output_files import check_folder, readable, replace_file
from disentangle3d.training.dataset import open_dataset
from experiments.benchmarks.known_faces import known_faces
from tests.data_prep.pictures import smooth_picture

_LATIN = os.fsdecode(b"Jos\xe9")
_PEOPLE = (_LATIN, "Jos\u00e9", "Ann, Jr.")


def _no_fit(model, landmarks, visibility, subjects, **options):
  """In place of the fitter: compiling it takes longer than all the rest."""
  count = len(subjects)
  return ImageFits(
    identity_coefficients=np.zeros((count, 10), np.float32),
    expression_coefficients=np.zeros((count, 3), np.float32),
    camera=Camera(
      np.full(count, 0.4, np.float32),
      np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
      np.full((count, 2), 50, np.float32),
    ),
    rmse_px=np.ones(count, np.float32),
    relative_error=np.zeros(count, np.float32),
    outliers=np.zeros(count, np.int32),
    converged=np.ones(count, bool),
    rejected=np.zeros(count, bool),
  )


def _no_overlay(crop, shape, triangles, camera, *, upscale):
  """In place of the renderer, which is slow."""
  return np.kron(crop, np.ones((upscale, upscale, 1), np.uint8))


class LatinNameTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, scratch)
    self.folder = pathlib.Path(scratch)

  def test_it_goes_through_all_stages(self):
    model = procedural_face_model(
      num_vertices=1_000, identity_dim=10, expression_dim=3
    )
    known = known_faces(model, len(_PEOPLE), 1)
    found = {}
    for number, person in enumerate(_PEOPLE):
      for kind in ("photos", "points"):
        (self.folder / kind / person).mkdir(parents=True)
      picture = smooth_picture(number)
      Image.fromarray(picture).save(self.folder / "photos" / person / "1.png")
      landmarks = known.landmarks[number, 0]
      found[picture.tobytes()] = np.asarray(five_points(landmarks))
      xy = "\n".join(f"{x + 1} {y + 1}" for x, y in landmarks)
      points = self.folder / "points" / person / "1.pts"
      points.write_text(f"version: 1\nn_points: 68\n{{\n{xy}\n}}\n")

    def find(images):
      box = np.array([[5, 5, 90, 105]], np.float32)
      return [
        Faces(box, found[image.tobytes()][None], np.ones(1)) for image in images
      ]

    photos = list_photos(self.folder / "photos")
    stages = {
      name: self.folder / name
      for name in ("detect_faces", "locate", "align", "fit_faces")
    }
    detect, locate, align, fit = stages.values()
    detect_faces(photos, detect, mtcnn_source(find=find))
    locator = PtsLocator(self.folder / "points")
    locate_landmarks(rows_of_stage(detect), locate, locator)
    # The other way into the same stage.
    locate_landmarks(rows_of_photos(photos), self.folder / "located", locator)
    align_faces(locate, align)
    self.enter_context(mock.patch.object(shards, "fit_subjects", _no_fit))
    self.enter_context(mock.patch.object(summary, "overlay_mesh", _no_overlay))
    fit_faces(align, model, fit, settings=FitSettings(contour="off"))
    rows = read_rows(fit, aligned=True)
    self.assertCountEqual([row.subject for row in rows], _PEOPLE)
    self.assertEqual({row.status for row in rows}, {"ok"})

    page = self.folder / "photos.html"
    write_photo_page(page, stages, [f"python -m x {_LATIN}"], most=9)
    self.assertIn("Jos\\xe9/1.png", page.read_text("utf-8"))
    self.assertIn("Jos\u00e9/1.png", page.read_text("utf-8"))
    manifest = build_dataset(
      fit, self.folder / "dataset", heldout=f'{_LATIN}, "Ann, Jr."'
    )
    self.assertEqual(
      manifest["created"]["settings"]["heldout_people"],
      ["Ann, Jr.", "Jos\\xe9"],
    )
    self.assertEqual(
      open_dataset(self.folder / "dataset", "heldout").num_people, 2
    )
    inspection = check_dataset(self.folder / "dataset")
    self.assertEmpty(inspection.violations)
    replace_file(page, inspection_page(inspection, shown=9, seed=0))
    self.assertIn("Jos\\xe9", page.read_text("utf-8"))

  def test_photos_have_such_names_and_videos_say_that_they_have(self):
    for name in (f"{_LATIN}.png", f"{_LATIN}.avi"):
      (self.folder / name).write_bytes(b"")
    Image.fromarray(smooth_picture(0)).save(self.folder / f"{_LATIN}.png")
    video, photo = read_photos(list_files([str(self.folder)]).files)
    self.assertRegex(video.reason, "whose path is no UTF-8 .* rename it")
    np.testing.assert_array_equal(photo.image, smooth_picture(0))

  def test_what_is_written_to_must_not(self):
    with self.assertRaisesRegex(
      ValueError, r"/Jos\\xe9: expected a folder whose path is UTF-8"
    ):
      check_folder(self.folder / _LATIN)
    with self.assertRaisesRegex(
      ValueError, r"/Jos\\xe9: expected a dataset whose path is UTF-8"
    ):
      open_dataset(self.folder / _LATIN, "train")

  def test_readable_changes_nothing_else(self):
    self.assertEqual(
      readable("Jos\u00e9 \U0001f600 \\xe9"), "Jos\u00e9 \U0001f600 \\xe9"
    )
    self.assertEqual(readable(f"a{_LATIN}/1"), "aJos\\xe9/1")


if __name__ == "__main__":
  absltest.main()
