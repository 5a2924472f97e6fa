import dataclasses
import pathlib
import shutil
import tempfile

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np

from data_prep.datasets.synthetic_crops import render_aligned
from data_prep.datasets.synthetic_rendering import render_dataset
from data_prep.datasets.synthetic_set import (
  SyntheticSet,
  photos_of,
  split_plans,
  true_labels,
  world_of,
)
from data_prep.datasets.synthetic_shards import open_set
from data_prep.stages.folder import Share
from disentangle3d.faces.landmark_calibration import save_landmark_calibration
from disentangle3d.faces.morphable_model import (
  save_morphable_model,
  synthesize_shape,
)
from disentangle3d.faces.synthetic import render_photos
from disentangle3d.fitting.batched_fitting import fit_model, fit_subjects
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.stores import as_path
from disentangle3d.training.dataset import MANIFEST, open_dataset, read_manifest
from disentangle3d.training.input_pipeline import RecordReader, decode_image
from tests.fixtures import random_calibration, random_morphable_model
from tests.killing import run_killed

SETTINGS = SyntheticSet(
  people=4,
  photos_per_person=2,
  heldout_people=4,
  heldout_photos_per_person=2,
  seed=7,
  num_vertices=600,
  identity_modes=8,
  expression_modes=4,
)


class RenderSyntheticTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.world, cls.fitter = world_of(SETTINGS)
    cls.folder = pathlib.Path(tempfile.mkdtemp()) / "dataset"
    render_dataset(cls.folder, SETTINGS, cls.world, cls.fitter)
    cls.records = {}
    for name in ("train", "heldout"):
      reader = RecordReader(open_dataset(cls.folder, name))
      cls.records[name] = reader.read_records(range(len(reader)))

  @classmethod
  def tearDownClass(cls):
    shutil.rmtree(cls.folder.parent)
    super().tearDownClass()

  def test_each_split_has_its_own_people(self):
    train = [record["subject"] for record in self.records["train"]]
    heldout = [record["subject"] for record in self.records["heldout"]]
    self.assertLen(train, 8)
    self.assertLen(heldout, 8)
    self.assertLen(set(train), 4)
    self.assertLen(set(heldout), 4)
    self.assertEmpty(set(train) & set(heldout))
    labels = [record["label"] for record in self.records["train"]]
    self.assertEqual(labels, [0, 0, 1, 1, 2, 2, 3, 3])

  def test_world_and_fitter_go_by_the_detector_asked_for(self):
    self.assertIsNone(self.world.model.landmark_calibration)
    self.assertIsNone(self.fitter.landmark_calibration)
    path = self.folder.parent / "marks.npz"
    calibration = random_calibration(self.fitter)
    save_landmark_calibration(path, calibration)
    asked = dataclasses.replace(SETTINGS, landmark_calibration=str(path))
    world, fitter = world_of(asked)
    for got in (world.model, fitter):
      np.testing.assert_array_equal(
        got.landmark_calibration.offset_mm, calibration.offset_mm
      )
    with open_set(
      self.folder.parent / "calibrated",
      asked,
      fitter,
      write="dataset",
      num_shards=1,
      manifest_suffix=".json",
    ) as folder:
      self.assertEqual(folder.settings["landmark_calibration"], str(path))
      self.assertIn(f"landmark calibration of {fitter.name}", folder.licences)

  def test_a_photo_is_remade_from_its_seed_and_index(self):
    plan = split_plans(SETTINGS)["heldout"]
    world = self.world.replace(photos_per_person=plan.photos_per_person)
    record = self.records["heldout"][4]
    photos = photos_of(
      world, record["world_seed"], np.array([record["world_index"]], np.int32)
    )
    np.testing.assert_array_equal(
      photos.image[0], decode_image(record["image"])
    )
    np.testing.assert_array_equal(photos.landmarks[0], record["landmarks"])

  def test_labels_are_the_fit_of_all_photos_of_a_person(self):
    theirs = self.records["heldout"]
    fits = fit_subjects(
      fit_model(self.fitter, moving_contour=True),
      np.stack([record["landmarks"] for record in theirs]),
      np.stack([record["visibility"] for record in theirs]),
      np.array([record["subject"] for record in theirs]),
      options=FitOptions(),
      visible_contour=np.ones(len(theirs), bool),
    )
    for n, record in enumerate(theirs):
      for name in ("identity_coefficients", "expression_coefficients"):
        np.testing.assert_allclose(
          record[name], getattr(fits, name)[n], atol=1e-4
        )

  def test_true_labels_make_the_true_shape_but_for_its_detail(self):
    indices = split_plans(SETTINGS)["train"].indices()
    photos = photos_of(self.world, SETTINGS.seed, indices)
    labels = true_labels(
      self.world, SETTINGS.seed, indices, photos, self.world.model
    )
    shape = synthesize_shape(
      self.world.model,
      labels.identity_coefficients,
      labels.expression_coefficients,
    )
    smooth = self.world.replace(
      identity_rows=self.world.identity_rows.at[-64:].set(0),
      residual_rows=self.world.residual_rows.at[-32:].set(0),
    )
    truth = render_photos(smooth, SETTINGS.seed, jnp.asarray(indices)).shape
    np.testing.assert_allclose(shape, truth, atol=1e-2)
    fewer = true_labels(self.world, SETTINGS.seed, indices, photos, self.fitter)
    self.assertEqual(fewer.identity_coefficients.shape, (8, 8))
    np.testing.assert_array_equal(
      fewer.identity_coefficients, labels.identity_coefficients[:, :8]
    )

  def test_the_manifest_says_how_to_make_the_world_again(self):
    made = read_manifest(self.folder)["created"]["settings"]["synthetic"]
    self.assertEqual(SyntheticSet(**made), SETTINGS)
    self.assertEqual(read_manifest(self.folder)["template"], "sphereface")

  def test_a_finished_set_is_left_as_it_is(self):
    before = _modified(self.folder, "*")
    manifest = render_dataset(self.folder, SETTINGS, self.world, self.fitter)
    self.assertEqual(manifest, read_manifest(self.folder))
    self.assertEqual(_modified(self.folder, "*"), before)

  def test_a_store_has_the_same_bytes(self):
    store = as_path("memory://rendered/set")
    render_dataset(store, SETTINGS, self.world, self.fitter)
    stored = {name: (store / name).read_bytes() for name in store.names()}
    self.assertEqual(stored, _contents(self.folder))

  def test_other_settings_are_refused(self):
    other = dataclasses.replace(SETTINGS, seed=8)
    with self.assertRaisesRegex(ValueError, "begun with seed 7.* got 8"):
      render_dataset(self.folder, other, self.world, self.fitter)

  def test_a_folder_of_something_else_is_refused_and_kept(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    (folder / "note").write_text("mine")
    with self.assertRaisesRegex(ValueError, "expected a new or an empty"):
      render_dataset(folder, SETTINGS, self.world, self.fitter)
    self.assertEqual([path.name for path in folder.iterdir()], ["note"])


class OpenSetTest(absltest.TestCase):
  def test_another_morphable_model_under_the_same_name_is_refused(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    settings = dataclasses.replace(
      SETTINGS, morphable_model=str(root / "model.npz")
    )
    models = random_morphable_model(), random_morphable_model(seed=1)

    def begin(model):
      save_morphable_model(root / "model.npz", model)
      with open_set(
        root / "set",
        settings,
        model,
        write="dataset",
        num_shards=2,
        manifest_suffix=".json",
      ) as stage:
        return stage

    for model in (models[0], models[0]):
      self.assertEqual(begin(model).pending(Share(0, 1)), [0, 1])
    begin(models[0]).manifest(0).touch()
    with self.assertRaisesRegex(ValueError, "begun with other input"):
      begin(models[1])


class ResumeTest(absltest.TestCase):
  """Each split of so few people is one shard."""

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.world, self.fitter = world_of(SETTINGS)

  def _killed(self, write: str) -> tuple[pathlib.Path, dict[str, int]]:
    """A folder in which one of two shards is done, and when its files were."""
    folder = self.root / "killed"
    flags = {"output": folder, "write": write, **dataclasses.asdict(SETTINGS)}
    status = run_killed(
      "data_prep.render_synthetic",
      *(f"--{k}={v}" for k, v in flags.items() if v is not None),
      pattern="manifest-*-of-*.json*",
      after=1,
    )
    self.assertEqual(status, -9)
    done = _modified(folder, "manifest-*")
    self.assertLen(done, 1)
    return folder, done

  def test_a_killed_dataset_goes_on_to_the_same_bytes(self):
    killed, done = self._killed("dataset")
    self.assertFalse((killed / MANIFEST).exists())
    render_dataset(killed, SETTINGS, self.world, self.fitter)
    self.assertLessEqual(done.items(), _modified(killed, "manifest-*").items())
    whole = self.root / "whole"
    for part in (1, 0):
      self.assertFalse((whole / MANIFEST).exists())
      made = render_dataset(
        whole, SETTINGS, self.world, self.fitter, share=Share(part, 2)
      )
    self.assertEqual(made, read_manifest(whole))
    self.assertEqual(_contents(killed), _contents(whole))

  def test_killed_crops_go_on_to_the_same_bytes(self):
    killed, done = self._killed("aligned")
    render_aligned(killed, SETTINGS, self.world)
    self.assertLessEqual(done.items(), _modified(killed, "manifest-*").items())
    counts = render_aligned(self.root / "whole", SETTINGS, self.world)
    self.assertEqual(counts, {"ok": 16})
    whole = _contents(self.root / "whole")
    self.assertEqual(_contents(killed), whole)
    store = as_path("memory://rendered/aligned")
    render_aligned(store, SETTINGS, self.world)
    stored = {name: (store / name).read_bytes() for name in store.names()}
    self.assertEqual(stored, whole)


def _modified(folder: pathlib.Path, pattern: str) -> dict[str, int]:
  return {p.name: p.stat().st_mtime_ns for p in folder.glob(pattern)}


def _contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


class WorldTest(absltest.TestCase):
  def test_the_procedural_fitter_has_the_first_modes_of_the_world(self):
    world, fitter = world_of(SETTINGS)
    self.assertEqual((fitter.identity_dim, fitter.expression_dim), (8, 4))
    self.assertGreater(world.model.identity_dim, 8)
    np.testing.assert_array_equal(
      fitter.identity_basis, np.asarray(world.model.identity_basis)[..., :8]
    )

  def test_more_modes_than_the_file_has_are_refused(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    save_morphable_model(folder / "model.npz", random_morphable_model())
    settings = dataclasses.replace(
      SETTINGS, morphable_model=str(folder / "model.npz"), identity_modes=99
    )
    with self.assertRaisesRegex(ValueError, "expected 1 to 12 modes, got 99"):
      world_of(settings)

  def test_a_missing_model_is_named(self):
    settings = dataclasses.replace(SETTINGS, morphable_model="nowhere.npz")
    with self.assertRaisesRegex(FileNotFoundError, "nowhere.npz: no such"):
      world_of(settings)

  def test_no_people_are_refused(self):
    with self.assertRaisesRegex(ValueError, "people: expected at least 1"):
      SyntheticSet(people=0)


if __name__ == "__main__":
  absltest.main()
