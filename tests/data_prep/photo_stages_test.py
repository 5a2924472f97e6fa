"""Photographs through all stages: locate, align, fit, build."""

import pathlib
import shutil
import tempfile

from absl.testing import absltest
import numpy as np

from data_prep.datasets.building import build_dataset
from data_prep.faces.alignment import align_faces
from data_prep.faces.dlib_locator import WEIGHTS
from data_prep.faces.location import locate_landmarks, rows_of_photos
from data_prep.fitting.fit_files import fits_path, read_fits
from data_prep.fitting.shards import FitSettings
from data_prep.fitting.stage import fit_faces
from data_prep.photos.photo_sets import list_photos
from data_prep.stages.rows import list_manifests, read_rows
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.training.dataset import load_dataset_model, open_dataset
from disentangle3d.types import CROP_TEMPLATE
from tests.data_prep import orl_faces

_PEOPLE = {"s2": ("1.pgm", "2.pgm"), "s10": ("1.pgm", "5.pgm")}


class PhotoStagesTest(absltest.TestCase):
  def test_photographs_become_a_dataset(self):
    photos = orl_faces.skip_unless_there(self)
    locator = orl_faces.locator()
    model = procedural_face_model(
      num_vertices=1_000, identity_dim=20, expression_dim=5
    )
    with tempfile.TemporaryDirectory() as scratch:
      folder = pathlib.Path(scratch)
      for person, names in _PEOPLE.items():
        (folder / "photos" / person).mkdir(parents=True)
        for name in names:
          shutil.copy(photos / person / name, folder / "photos" / person / name)
      # Two that must be rejected, with their reasons in the manifest.
      (folder / "photos" / "s2" / "text.jpg").write_text("no image")
      (folder / "photos" / "s2" / "dot.pgm").write_bytes(b"P5 1 1 255\n\x00")
      locate_landmarks(
        rows_of_photos(
          list_photos(folder / "photos"),
          photo_licence="AT&T Laboratories Cambridge",
        ),
        folder / "located",
        locator,
      )
      align_faces(folder / "located", folder / "aligned")
      rows = read_rows(folder / "aligned", aligned=True)
      fit_faces(
        folder / "aligned", model, folder / "fitted", settings=FitSettings()
      )
      (fitted,) = list_manifests(folder / "fitted")
      fits = read_fits(fits_path(fitted))
      manifest = build_dataset(
        folder / "fitted", folder / "dataset", heldout="s10,"
      )
      train = open_dataset(folder / "dataset", "train")
      heldout = open_dataset(folder / "dataset", "heldout")
      self.assertEqual(
        (train.num_records, train.num_people, train.num_classes), (2, 1, 1)
      )
      self.assertEqual((heldout.num_records, heldout.num_people), (2, 1))
      self.assertEqual(load_dataset_model(train).num_vertices, 1_000)
    self.assertEqual(
      {row.image_id: row.reason for row in rows if row.status != "ok"},
      {
        "s2/dot.pgm": "photo too small: 1 x 1 px",
        "s2/text.jpg": "cannot be read as an image",
      },
    )
    for row in rows:
      if row.status == "ok":
        points = row.five_points @ row.crop_from_photo[:, :2].T
        apart = points + row.crop_from_photo[:, 2] - CROP_TEMPLATE
        self.assertLess(np.abs(apart).max(), 8)
    self.assertLess(fits.rmse_px.max(), 4)
    made = manifest["created"]["settings"]
    stages = {one["stage"]: one["settings"] for one in made["stages_before"]}
    self.assertEqual(
      [*stages], ["locate_landmarks", "align_faces", "fit_faces"]
    )
    self.assertEqual(stages["locate_landmarks"]["locator"], "dlib")
    self.assertEqual(
      stages["align_faces"]["crop_template"], "SphereFace, 112 x 96"
    )
    self.assertEqual(stages["fit_faces"]["contour"], "detector")
    self.assertIn("300-W", made["licences"][WEIGHTS])
    self.assertTrue(np.all(fits.camera_scale > 0))


if __name__ == "__main__":
  absltest.main()
