import itertools

from absl.testing import absltest
import numpy as np

from disentangle3d.evaluation.consistency import nearer_than_strangers
from disentangle3d.evaluation.icp import Motion


def _faces(noise, people=6, seed=0):
  """Two photos of each person: a person's own shape, and noise."""
  rng = np.random.default_rng(seed)
  reference = 50 * rng.normal(size=(40, 3))
  own = reference + rng.normal(size=(people, 1, 40, 3))
  shapes = own + noise * rng.normal(size=(people, 2, 40, 3))
  return reference, shapes.reshape(-1, 40, 3), np.repeat(np.arange(people), 2)


class NearerThanStrangersTest(absltest.TestCase):
  def test_equal_to_every_draw_counted(self):
    reference, shapes, people = _faces(3.0)
    region = np.arange(40) < 25
    found = nearer_than_strangers(
      shapes, people, reference=reference, region=region, strangers=3
    )
    self.assertBetween(found.mean(), 0.2, 0.98)
    for row in range(len(shapes)):
      alone = [
        nearer_than_strangers(
          shapes[[row, row ^ 1, *drawn]],
          np.array([0, 0, 1, 2, 3]),
          reference=reference,
          region=region,
          strangers=3,
        )[0]
        for drawn in itertools.combinations(
          np.flatnonzero(people != people[row]), 3
        )
      ]
      self.assertAlmostEqual(found[row], np.mean(alone))

  def test_size_place_and_what_is_outside_do_not_count(self):
    reference, shapes, people = _faces(0.3)
    region = np.arange(40) < 25
    rng = np.random.default_rng(1)
    moved = np.stack(
      [
        Motion(1 + 0.1 * rng.normal(), np.eye(3), rng.normal(size=3)).apply(one)
        for one in shapes
      ]
    )
    moved[:, ~region] += rng.normal(size=moved[:, ~region].shape)
    one, other = (
      nearer_than_strangers(
        some, people, reference=reference, region=region, strangers=5
      )
      for some in (shapes, moved)
    )
    np.testing.assert_allclose(one, other)
    self.assertGreater(one.mean(), 0.9)

  def test_equal_shapes_are_not_nearer_and_lonely_ones_have_no_number(self):
    reference, shapes, people = _faces(0.0)
    region = np.ones(40, bool)
    same = nearer_than_strangers(
      np.broadcast_to(reference, shapes.shape),
      people,
      reference=reference,
      region=region,
      strangers=2,
    )
    np.testing.assert_array_equal(same, 0)
    lonely = nearer_than_strangers(
      shapes[1:], people[1:], reference=reference, region=region, strangers=2
    )
    np.testing.assert_array_equal(np.isnan(lonely), np.arange(11) == 0)
    np.testing.assert_array_equal(lonely[1:], 1)


if __name__ == "__main__":
  absltest.main()
