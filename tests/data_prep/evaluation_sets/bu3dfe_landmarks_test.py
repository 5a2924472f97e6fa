"""A face whose 83 points are known, numbered from anywhere in each loop."""

from absl.testing import absltest, parameterized
import numpy as np

from data_prep.evaluation_sets.bu3dfe_landmarks import ibug_from_bu3dfe


def _loop(center, width, height, count):
  """A closed loop from the left corner over the top; corners opposite."""
  angle = np.pi - 2 * np.pi * np.arange(count) / count
  x, y = width / 2 * np.cos(angle), height / 2 * np.sin(angle)
  return np.stack([x, y, 0 * x], 1) + center


# Groups of menpo's labels, in their order.
EYE, BROW = (25, 40, 40), (28, 60, 45)
GROUPS = {
  "right eye": _loop((-EYE[0], *EYE[1:]), 28, 10, 8),
  "left eye": _loop(EYE, 28, 10, 8),
  "right brow": _loop((-BROW[0], *BROW[1:]), 40, 6, 10),
  "left brow": _loop(BROW, 40, 6, 10),
  "right nose": np.array([[-8, 30, 50], [-10, 15, 55], [-16, 5, 52.0]]),
  "left nose": np.array([[8, 30, 50], [10, 15, 55], [16, 5, 52.0]]),
  "nostrils": np.array(
    [[-14, 0, 50], [-9, -3, 54], [-4, -5, 57]]
    + [[4, -5, 57], [9, -3, 54], [14, 0, 50.0]]
  ),
  "outer mouth": _loop((0, -30, 55), 50, 20, 12),
  "inner mouth": _loop((0, -30, 54), 40, 4, 8),
  "jaw": np.stack(
    [
      60 * np.cos(np.linspace(np.pi, 2 * np.pi, 15)),
      20 + 100 * np.sin(np.linspace(np.pi, 2 * np.pi, 15)),
      np.zeros(15),
    ],
    1,
  ),
}
NOSE_TIP, NOSE_BOTTOM = np.array([0, 6, 75.0]), np.array([0, -5, 57.0])
EXPECTED = {
  36: (-39, 40, 40), 39: (-11, 40, 40), 42: (11, 40, 40), 45: (39, 40, 40),
  17: (-48, 60, 45), 21: (-8, 60, 45), 22: (8, 60, 45), 26: (48, 60, 45),
  48: (-25, -30, 55), 54: (25, -30, 55), 51: (0, -20, 55), 57: (0, -40, 55),
  60: (-20, -30, 54), 64: (20, -30, 54), 62: (0, -28, 54), 66: (0, -32, 54),
  8: (0, -80, 0), 30: NOSE_TIP, 33: NOSE_BOTTOM,
}  # fmt: skip


def mesh_vertices() -> np.ndarray:
  """The landmarks, the nose, and a chin that sticks out further."""
  return np.concatenate(
    [*GROUPS.values(), [NOSE_TIP, NOSE_BOTTOM, [0, -70, 90], [0, 90, 80]]]
  ).astype(np.float32)


class Bu3dfeLandmarksTest(parameterized.TestCase):
  @parameterized.parameters((0, 1), (3, 1), (5, -1), (0, -1))
  def test_points_are_found_wherever_a_loop_starts(self, start, way):
    points = np.concatenate(
      [
        np.roll(group, start, axis=0)[::way]
        if "mouth" in name or "eye" in name or "brow" in name
        else group[::way]
        for name, group in GROUPS.items()
      ]
    ).astype(np.float32)
    self.assertLen(points, 83)
    found = ibug_from_bu3dfe(points, mesh_vertices())
    for number, place in EXPECTED.items():
      np.testing.assert_allclose(
        found[number], place, atol=1e-5, err_msg=str(number)
      )
    known = np.flatnonzero(np.isfinite(found).all(1))
    self.assertEqual(known.tolist(), sorted(EXPECTED))

  def test_sides_are_told_by_where_they_are(self):
    """Left and right groups the other way round come out the same."""
    names = list(GROUPS)
    for one in (0, 2, 4):
      names[one], names[one + 1] = names[one + 1], names[one]
    points = np.concatenate([GROUPS[name] for name in names])
    found = ibug_from_bu3dfe(points, mesh_vertices())
    np.testing.assert_allclose(found[36], EXPECTED[36], atol=1e-5)
    np.testing.assert_allclose(found[26], EXPECTED[26], atol=1e-5)

  def test_a_mesh_without_a_nose_is_refused(self):
    points = np.concatenate(list(GROUPS.values()))
    with self.assertRaisesRegex(ValueError, "between eyes and mouth, got none"):
      ibug_from_bu3dfe(points, np.array([[0.0, 500, 0]]))
    with self.assertRaisesRegex(ValueError, "points: .*83"):
      ibug_from_bu3dfe(points[:68], mesh_vertices())


if __name__ == "__main__":
  absltest.main()
