"""Scans whose shape is known, of the published layout."""

import pathlib

from absl.testing import absltest
import numpy as np

from data_prep.datasets.building import build_dataset
from data_prep.fitting.fit_files import fits_path, read_fits
from data_prep.fitting.registration import register_scans
from data_prep.stages.about import write_about
from data_prep.stages.rows import manifest_path, read_rows
from disentangle3d.training.dataset import open_dataset
from disentangle3d.types import UserError
from tests.data_prep.evaluation_sets.york_layout import (
  DEVELOPMENT,
  TEST,
  grid_model,
  names_of,
  scanned,
  write_aligned,
  write_york,
)


class RegisterScansTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.names = names_of(DEVELOPMENT[:2])

  def _write(self, names, scans):
    write_york(self.root / "york", dict(zip(names, scans, strict=True)))
    write_aligned(self.root / "aligned", self.root / "york", names)
    write_about(
      self.root / "aligned",
      "align_faces",
      settings={},
      licences={"scans": "research"},
      counts={"ok": len(names)},
    )

  def _register(self, **options):
    return register_scans(
      [self.root / "york"],
      self.root / "aligned",
      grid_model(),
      self.root / "registered",
      **options,
    )

  def test_the_labels_are_the_scans_shapes(self):
    # A bump of 6 mm is 2 of the model's 3 mm bumps; of one person's two scans
    # only one has it. The last scan has too little in it.
    broken = scanned(step=20.0, extra=False)
    scans = [scanned(), scanned(), scanned(6.0), broken]
    self._write(self.names, scans)
    counts = self._register()
    self.assertEqual(counts, {"ok": 3, "rejected, fewer than 1500 vertices": 1})
    fits = read_fits(fits_path(manifest_path(self.root / "registered")))
    self.assertEqual(
      [name.rsplit(".", 1)[0] for name in fits.image_id], self.names[:3]
    )
    np.testing.assert_allclose(
      fits.identity_coefficients[:, 0], [0, 0, 2], atol=0.1
    )
    # The photos were taken at 0.35 of 1.7 pixels a millimetre.
    np.testing.assert_allclose(fits.camera_scale, 0.595, rtol=0.02)
    # The model's landmarks are vertices of a grid of 5 mm; 90 mm are 1.
    self.assertLess(fits.relative_error.max(), 0.03)
    self.assertEqual(self._register(), counts)

    build_dataset(self.root / "registered", self.root / "dataset", heldout="0")
    split = open_dataset(self.root / "dataset", "train")
    self.assertEqual((split.num_records, split.num_classes), (3, 2))

  def test_a_person_has_one_identity(self):
    self._write(self.names[:2], [scanned(), scanned(6.0)])
    self._register()
    fits = read_fits(fits_path(manifest_path(self.root / "registered")))
    np.testing.assert_allclose(
      fits.identity_coefficients[:, 0], [1, 1], atol=0.1
    )

  def test_nobody_to_test_on_is_taken(self):
    names = names_of(TEST[:1])
    self._write(names, [scanned(), scanned()])
    with self.assertRaisesRegex(UserError, "scans of the development people"):
      self._register()
    self.assertEmpty(list(self.root.glob("registered/*")))
    self._register(split="test")
    self.assertLen(read_rows(self.root / "registered"), 2)

  def test_without_a_usable_scan_it_says_why(self):
    broken = [scanned(step=20.0, extra=False)] * 2
    self._write(self.names[:2], broken)
    with self.assertRaisesRegex(UserError, "2 rejected, fewer than 1500"):
      self._register()

  def test_a_kill_loses_some_people_and_ends_in_the_same_bytes(self):
    self._write(self.names[1:3], [scanned(), scanned(6.0)])
    self._register(people_a_shard=1)
    registered = self.root / "registered"
    whole = {path: path.read_bytes() for path in registered.iterdir()}
    self.assertLen(list(registered.glob("manifest-*-of-00002*")), 2)
    fits_path(manifest_path(registered, 1, 2)).unlink()
    manifest_path(registered, 1, 2).unlink()
    self._register(people_a_shard=1)
    self.assertEqual(
      whole, {path: path.read_bytes() for path in registered.iterdir()}
    )

  def test_scans_without_a_row_are_told(self):
    broken = scanned(step=20.0, extra=False)
    self._write(self.names[:2], [broken] * 2)
    write_york(self.root / "york", dict.fromkeys(self.names[2:], broken))
    with self.assertLogs(level="INFO") as logs, self.assertRaises(UserError):
      self._register()
    self.assertRegex(
      "".join(logs.output), f"without 2 of 4 scans, e.g. {self.names[2]}"
    )


if __name__ == "__main__":
  absltest.main()
