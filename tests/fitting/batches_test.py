import itertools

from absl.testing import absltest
import numpy as np

from disentangle3d.fitting.batches import (
  BatchShape,
  image_batches,
  plan_batches,
  shape_of,
)


def _cost(ends, sizes):
  """Padded images, and 20,000 for each program."""
  widths = np.array(ends)
  return widths[np.searchsorted(widths, sizes)].sum() + 20_000 * len(ends)


class PlanBatchesTest(absltest.TestCase):
  def test_no_other_choice_of_sizes_wastes_less(self):
    rng = np.random.default_rng(0)
    sizes = rng.choice([1, 2, 5, 30, 46, 100, 300, 800], 6000)
    shapes = plan_batches(sizes)
    widths = np.unique(sizes)
    best = min(
      _cost([*inner, widths[-1]], sizes)
      for count in range(8)
      for inner in itertools.combinations(widths[:-1], count)
    )
    self.assertEqual(_cost([s.images for s in shapes], sizes), best)
    self.assertGreater(len(shapes), 1)

  def test_a_recognition_set_wastes_little(self):
    # A long tail as in CASIA-WebFace: 46 on average, 2 to 800.
    rng = np.random.default_rng(0)
    sizes = np.clip(np.exp(rng.normal(3.5, 0.8, 10_575)), 2, 800).astype(int)
    shapes = plan_batches(sizes)
    self.assertLessEqual(len(shapes), 8)
    widths = np.array([shape.images for shape in shapes])
    padded = widths[shape_of(sizes, shapes)].sum()
    self.assertLess(padded, 1.3 * sizes.sum())
    for shape in shapes:
      self.assertLessEqual(shape.images * shape.subjects, 3072)

  def test_few_subjects_take_one_program_no_larger_than_they_are(self):
    self.assertEqual(plan_batches([3, 5, 9]), (BatchShape(9, 3),))
    self.assertEqual(plan_batches([5000]), (BatchShape(5000, 1),))

  def test_bad_sizes_are_named(self):
    for sizes in ([], [3, 0]):
      with self.assertRaisesRegex(ValueError, "sizes: expected"):
        plan_batches(sizes)


class ImageBatchesTest(absltest.TestCase):
  def test_every_image_is_in_one_batch_with_its_subject(self):
    rng = np.random.default_rng(0)
    names = np.array([f"p{n}" for n in rng.integers(0, 40, 500)])
    shapes = (BatchShape(10, 7), BatchShape(30, 3))
    seen = []
    rows_of = {}
    for places in image_batches(names, shapes):
      self.assertIn(BatchShape(places.shape[1], places.shape[0]), shapes)
      for row in places:
        used = row[row >= 0]
        seen += used.tolist()
        for name in np.unique(names[used]):
          rows_of[name] = rows_of.get(name, 0) + 1
    self.assertCountEqual(seen, range(500))
    self.assertEqual(set(rows_of.values()), {1})

  def test_few_subjects_are_not_padded_to_a_whole_batch(self):
    (places,) = image_batches(np.zeros(10, int))
    self.assertEqual(places.shape, (1, 10))


if __name__ == "__main__":
  absltest.main()
