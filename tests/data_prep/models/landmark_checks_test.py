from absl.testing import absltest, parameterized
import numpy as np

from data_prep.models.crop import cut_model, nearest_to_nose
from data_prep.models.landmark_checks import check_landmarks
from disentangle3d.types import LANDMARK_MIRROR
from tests.data_prep.models.known_model import MODEL, NUM_VERTICES

_LANDMARKS = MODEL.landmark_vertices
# 17 jaw, 10 brow, 9 nose, 12 eye and 20 lip landmarks, but for the midline.
_LEFT = [*range(8), *range(17, 22), 31, 32, *range(36, 42)]
_LEFT += [48, 49, 50, 58, 59, 60, 61, 67]


def _with(changes: dict[int, int]):
  vertices = _LANDMARKS.copy()
  for landmark, vertex in changes.items():
    vertices[landmark] = vertex
  return MODEL.replace(landmark_vertices=vertices)


def _moved(landmark: int, by_mm: tuple[float, float, float]):
  shape = MODEL.mean_shape.copy()
  shape[_LANDMARKS[landmark]] += np.array(by_mm, np.float32)
  return MODEL.replace(mean_shape=shape)


class CheckLandmarksTest(parameterized.TestCase):
  def test_a_face_passes_wherever_it_is(self):
    check_landmarks(MODEL)
    check_landmarks(
      MODEL.replace(mean_shape=MODEL.mean_shape + np.float32([30, -9, 70]))
    )

  def test_all_left_landmarks_on_the_right_are_named(self):
    model = MODEL.replace(landmark_vertices=_LANDMARKS[LANDMARK_MIRROR])
    with self.assertRaises(ValueError) as caught:
      check_landmarks(model)
    self.assertIn("x to be smaller than that of its", str(caught.exception))
    self.assertIn(f"landmarks {_LEFT} (", str(caught.exception))

  @parameterized.parameters(*_LEFT)
  def test_one_swapped_pair_is_named(self, left):
    right = LANDMARK_MIRROR[left]
    model = _with({left: _LANDMARKS[right], right: _LANDMARKS[left]})
    with self.assertRaisesRegex(
      ValueError, rf"smaller .* landmarks \[{left}\]"
    ):
      check_landmarks(model)

  @parameterized.named_parameters(
    ("mirrored", [-1, 1, 1], "x to be smaller than that of its counterpart"),
    ("upside_down", [1, -1, 1], r"y to be greater than .* 8, .* \[27\]"),
    ("inside_out", [1, 1, -1], r"z to be greater than .* 36, .* \[30\]"),
    ("z_up", np.eye(3)[[0, 2, 1]] * [[1], [-1], [1]], r"y to be greater"),
    ("y_left", np.eye(3)[[1, 0, 2]], "x to be smaller than that of its"),
  )
  def test_other_axes_are_refused(self, turn, message):
    turn = np.diag(turn) if np.ndim(turn) == 1 else np.asarray(turn)
    model = MODEL.replace(
      mean_shape=(MODEL.mean_shape @ turn.T).astype(np.float32)
    )
    with self.assertRaisesRegex(ValueError, f"^landmark_vertices: .*{message}"):
      check_landmarks(model)

  @parameterized.parameters(1e-3, 0.1, 0.75, 1.3, 10.0, 1e3)
  def test_other_units_are_refused(self, factor):
    model = MODEL.replace(
      mean_shape=(MODEL.mean_shape * factor).astype(np.float32)
    )
    with self.assertRaisesRegex(
      ValueError, r"outer eye corners 70 to 110 mm apart, got \S+ mm"
    ):
      check_landmarks(model)

  def test_two_landmarks_at_one_vertex_are_refused(self):
    with self.assertRaisesRegex(
      ValueError,
      rf"distinct vertices, got {_LANDMARKS[61]} for landmarks \[61, 67\]",
    ):
      check_landmarks(_with({67: _LANDMARKS[61]}))

  def test_symmetry_up_to_15_mm(self):
    for landmark in (3, 14, 48):
      check_landmarks(_moved(landmark, (0, 14.5, 0)))
      with self.assertRaisesRegex(
        ValueError,
        r"within 15 mm of its counterpart's mirror image \(15\.5 mm at most\),"
        rf" got another at landmarks \[{min(landmark, 16 - landmark)}\]"
        if landmark < 17
        else rf"landmarks \[{landmark}\]",
      ):
        check_landmarks(_moved(landmark, (0, 15.5, 0)))

  @parameterized.parameters(-2, NUM_VERTICES, 2**31 - 1)
  def test_the_range_is_checked(self, vertex):
    with self.assertRaisesRegex(
      ValueError, r"landmark_vertices: expected indices from -1 to 599, .*"
    ):
      check_landmarks(_with({8: vertex}))

  def test_what_is_missing_is_not_checked(self):
    check_landmarks(_with(dict.fromkeys(range(68), -1)))
    for missing in range(68):
      check_landmarks(_with({missing: -1}))
    # Half of what would be wrong is not there.
    check_landmarks(_with({61: -1, 67: _LANDMARKS[61]}))


class CutModelTest(absltest.TestCase):
  def test_modes_and_vertices_are_cut(self):
    model = cut_model(
      MODEL, identity_modes=2, expression_modes=1, nearest_vertices=300
    )
    self.assertEqual(
      (model.identity_dim, model.expression_dim, model.num_vertices),
      (2, 1, 300),
    )
    whole = cut_model(MODEL)
    self.assertEqual(
      (whole.identity_dim, whole.expression_dim, whole.num_vertices),
      (MODEL.identity_dim, MODEL.expression_dim, NUM_VERTICES),
    )

  def test_landmarks_are_checked_before(self):
    model = MODEL.replace(landmark_vertices=_LANDMARKS[LANDMARK_MIRROR])
    with self.assertRaisesRegex(ValueError, "x to be smaller"):
      cut_model(model)

  def test_landmarks_are_checked_after_a_crop(self):
    # Far pairs are 10 mm to the right, near ones in the middle, one of them
    # 20 mm to the right: too far only when most far ones are cut off.
    count = 250
    near = nearest_to_nose(MODEL, count).landmark_vertices >= 0
    shape = MODEL.mean_shape.copy()
    pairs = [(left, LANDMARK_MIRROR[left]) for left in _LEFT]
    kept = [pair for pair in pairs if near[list(pair)].all()]
    self.assertBetween(len(kept), 3, len(pairs) // 2)
    for pair in pairs:
      shift = 20 if pair == kept[-1] else 10 * (pair not in kept)
      shape[_LANDMARKS[pair[1]], 0] += shift
    model = MODEL.replace(mean_shape=shape)
    check_landmarks(model)
    with self.assertRaisesRegex(ValueError, "within 15 mm"):
      cut_model(model, nearest_vertices=count)


if __name__ == "__main__":
  absltest.main()
