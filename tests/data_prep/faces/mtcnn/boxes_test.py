from absl.testing import absltest, parameterized
import jax.numpy as jnp
import numpy as np

from data_prep.faces.mtcnn import boxes as box_steps


def _boxes(seed: int, count: int) -> np.ndarray:
  rng = np.random.default_rng(seed)
  corner = rng.uniform(0, 60, (count, 2))
  return np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], 1)


def _overlap(a: np.ndarray, b: np.ndarray, over: str) -> float:
  sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
  shared = np.prod(np.maximum(sides, 0))
  areas = [np.prod(box[2:] - box[:2]) for box in (a, b)]
  whole = min(areas) if over == "smaller" else sum(areas) - shared
  return shared / whole


class SuppressTest(parameterized.TestCase):
  @parameterized.product(over=("union", "smaller"), grouped=(False, True))
  def test_a_better_box_removes_what_it_covers(self, over, grouped):
    boxes = np.stack([_boxes(seed, 25) for seed in (0, 1)]).astype(np.float32)
    rng = np.random.default_rng(2)
    present = rng.random((2, 25)) < 0.8
    group = rng.integers(0, 2, (2, 25))
    kept = box_steps.suppress(
      jnp.asarray(boxes),
      jnp.asarray(present),
      most=0.4,
      over=over,
      group=jnp.asarray(group) if grouped else None,
    )
    expected = present.copy()
    for photo, other in np.ndindex(2, 25):
      for better in range(other):
        same = not grouped or group[photo, better] == group[photo, other]
        pair = boxes[photo, [better, other]]
        if present[photo, better] and same and _overlap(*pair, over) > 0.4:
          expected[photo, other] = False
    np.testing.assert_array_equal(kept, expected)
    self.assertBetween(expected.sum(), 5, present.sum() - 2)


class BoxesTest(absltest.TestCase):
  def test_squares_keep_centre_and_longer_side(self):
    boxes = _boxes(3, 10)
    squares = np.asarray(box_steps.square(jnp.asarray(boxes)))
    sides = squares[:, 2:] - squares[:, :2]
    longer = (boxes[:, 2:] - boxes[:, :2]).max(-1)
    np.testing.assert_allclose(
      sides, np.stack([longer] * 2, -1), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
      squares[:, :2] + squares[:, 2:], boxes[:, :2] + boxes[:, 2:], rtol=1e-5
    )

  def test_offsets_and_points_are_in_boxes(self):
    # A box of 10 x 20 pixels, its first and last pixel told.
    box = jnp.asarray([[10.0, 40.0, 19.0, 59.0]])
    moved = box_steps.refine(box, jnp.asarray([[0.1, 0.1, -0.2, 0.0]]))
    np.testing.assert_allclose(moved, [[11, 42, 17, 59]], rtol=1e-6)
    told = jnp.asarray([[0.0, 0.5, 1.0, 0.2, 0.3] + [0.0, 0.5, 1.0, 0.1, 0.2]])
    np.testing.assert_allclose(
      box_steps.points_in_photo(box, told),
      [[[9, 39], [14, 49], [19, 59], [11, 41], [12, 43]]],
      rtol=1e-6,
    )


if __name__ == "__main__":
  absltest.main()
