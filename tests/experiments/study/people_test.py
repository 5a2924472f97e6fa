import pathlib

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from data_prep.datasets.synthetic_set import label_model
from disentangle3d.faces.morphable_model import truncate_modes
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.synthetic import render_photos, synthetic_world
from disentangle3d.faces.synthetic_world import JAWS
from experiments.study import people as paper_people
from experiments.study.people import (
  MOST_PHOTOS,
  Targets,
  TrainingPeople,
  load_targets,
  save_targets,
  training_people,
)

_SEED = 5
_BATCH = 3


def setUpModule():
  global MODEL, WORLD, PEOPLE, PHOTOS, TRUTH
  MODEL = procedural_face_model(
    num_vertices=1_500, identity_dim=12, expression_dim=6
  )
  WORLD = synthetic_world(MODEL)
  PEOPLE = TrainingPeople(np.array([3, 1, 4]))
  PHOTOS = paper_people.render_people(WORLD, PEOPLE, seed=_SEED, batch=_BATCH)
  world = WORLD.replace(photos_per_person=MOST_PHOTOS)
  indices = jnp.asarray(PEOPLE.indices())
  TRUTH = jax.jit(render_photos)(world, jnp.uint32(_SEED), indices)


class TrainingPeopleTest(parameterized.TestCase):
  @parameterized.parameters((10_575, 488_848), (11, 489), (5, 10), (2, 1_608))
  def test_counts_add_up_and_stay_in_range(self, people, photos):
    counts = training_people(people, photos, seed=0).counts
    self.assertLen(counts, people)
    self.assertEqual(counts.sum(), photos)
    self.assertBetween(counts.min(), 2, counts.max())
    self.assertLessEqual(counts.max(), MOST_PHOTOS)

  def test_the_tail_is_long_and_of_no_order(self):
    counts = training_people(10_575, 488_848, seed=0).counts
    # A log-normal's mean is exp(1/2) times its median.
    self.assertAlmostEqual(counts.mean() / np.median(counts), 1.65, delta=0.05)
    rank = np.corrcoef(np.arange(len(counts)), counts)[0, 1]
    self.assertLess(abs(rank), 0.03)
    again = training_people(10_575, 488_848, seed=0).counts
    np.testing.assert_array_equal(counts, again)
    self.assertTrue(
      (training_people(11, 489, seed=1).counts != counts[:11]).any()
    )

  @parameterized.parameters((3, 5), (3, 2_413), (0, 4))
  def test_what_cannot_be_is_refused(self, people, photos):
    with self.assertRaisesRegex(ValueError, "photos: expected .* got"):
      training_people(people, photos, seed=0)

  def test_numbers_lead_back_to_the_person(self):
    indices = PEOPLE.indices()
    np.testing.assert_array_equal(indices // MOST_PHOTOS, PEOPLE.labels())
    np.testing.assert_array_equal(PEOPLE.labels(), [0, 0, 0, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(
      indices % MOST_PHOTOS, [0, 1, 2, 0, 0, 1, 2, 3]
    )


class RenderPeopleTest(absltest.TestCase):
  def test_batches_that_overlap_are_the_photos_one_by_one(self):
    self.assertNotEqual(PEOPLE.num_photos % _BATCH, 0)
    np.testing.assert_array_equal(
      np.asarray(PHOTOS.images).reshape(-1, 112, 96, 3), TRUTH.image
    )
    np.testing.assert_allclose(PHOTOS.landmarks, TRUTH.landmarks, atol=1e-3)
    np.testing.assert_array_equal(PHOTOS.visibility, TRUTH.visibility)
    np.testing.assert_array_equal(PEOPLE.labels(), TRUTH.person)

  def test_true_targets_combine_to_the_true_shapes(self):
    targets = paper_people.true_targets(WORLD, PEOPLE, seed=_SEED)
    identity = targets.identity @ np.asarray(WORLD.identity_rows)
    residual = targets.expression @ np.asarray(WORLD.residual_rows)
    mean = np.asarray(MODEL.mean_shape)[None]
    np.testing.assert_allclose(
      mean + identity.reshape(8, -1, 3), TRUTH.identity_shape, atol=2e-3
    )
    np.testing.assert_allclose(
      mean + (identity + residual).reshape(8, -1, 3), TRUTH.shape, atol=2e-3
    )
    # The fitter's modes come first, as do its latents.
    np.testing.assert_array_equal(
      truncate_modes(MODEL, 4, 2).identity_basis.reshape(-1, 4).T,
      np.asarray(WORLD.identity_rows)[:4],
    )

  def test_fits_are_one_identity_a_person(self):
    fitter = truncate_modes(MODEL, 4, 2)
    fits, fixed = (
      paper_people.fit_people(label_model(fitter, jaw), PEOPLE, PHOTOS)
      for jaw in JAWS
    )
    # Where the jaw's landmarks moved, so do the fits.
    self.assertFalse(np.allclose(fits.identity, fixed.identity, atol=0.05))
    self.assertEqual(fits.identity.shape, (8, 4))
    self.assertEqual(fits.expression.shape, (8, 2))
    for person in range(3):
      theirs = fits.identity[PEOPLE.labels() == person]
      np.testing.assert_array_equal(theirs, theirs[:1].repeat(len(theirs), 0))


class TargetsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(self.create_tempdir().full_path) / "fits.npz"

  def test_written_and_read(self):
    targets = Targets(np.ones((3, 4), np.float32), np.zeros((3, 2), np.float32))
    save_targets(self.path, targets)
    read = load_targets(self.path, photos=3)
    np.testing.assert_array_equal(read.identity, targets.identity)
    np.testing.assert_array_equal(read.expression, targets.expression)
    with self.assertRaisesRegex(ValueError, "expected 4 photos, got 3"):
      load_targets(self.path, photos=4)

  def test_damage_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "run --stage=fit first"):
      load_targets(self.path, photos=3)
    self.path.write_bytes(b"PK no archive")
    with self.assertRaisesRegex(ValueError, "fits.npz: expected fits"):
      load_targets(self.path, photos=3)


if __name__ == "__main__":
  absltest.main()
