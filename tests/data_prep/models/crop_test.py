import pathlib
import tempfile

from absl.testing import absltest
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from data_prep.models.basel_mat import read_3ddfa
from data_prep.models.crop import nearest_to_nose
from disentangle3d.faces.morphable_model import validate_morphable_model
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.types import NUM_VERTICES

_FACE = procedural_face_model(
  num_vertices=2_000, identity_dim=2, expression_dim=2
)


def _check_crop(test: absltest.TestCase, model, crop, count: int) -> None:
  """Size, order, renumbering, connectedness; that nothing nearer is missing."""
  kept = crop.source_vertices
  test.assertEqual(crop.num_vertices, count)
  test.assertTrue((np.diff(kept) > 0).all())
  for field in ("mean_shape", "identity_basis", "expression_basis"):
    np.testing.assert_array_equal(
      getattr(crop, field), getattr(model, field)[kept]
    )
  within = np.isin(model.triangles, kept).all(1)
  np.testing.assert_array_equal(kept[crop.triangles], model.triangles[within])
  old = np.where(crop.landmark_vertices < 0, -1, kept[crop.landmark_vertices])
  np.testing.assert_array_equal(
    old,
    np.where(
      np.isin(model.landmark_vertices, kept), model.landmark_vertices, -1
    ),
  )
  edges = crop.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
  graph = scipy.sparse.coo_array(
    (np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count)
  )
  test.assertEqual(connected_components(graph, directed=False)[0], 1)
  test.assertLen(np.unique(crop.triangles), count)
  validate_morphable_model(crop)
  # The crop is not exactly a ball, because it hangs together by triangles.
  nose = model.mean_shape[model.landmark_vertices[30]]
  distance = np.linalg.norm(model.mean_shape - nose, axis=1)
  nearest = np.argsort(distance)[:count]
  test.assertGreater(np.isin(nearest, kept).mean(), 0.97)


class NearestToNoseTest(absltest.TestCase):
  def test_a_crop_is_connected_and_everything_is_renumbered(self):
    for count in (3, 4, 500, 1_001, 2_000):
      crop = nearest_to_nose(_FACE, count)
      if count >= 500:
        _check_crop(self, _FACE, crop, count)
      self.assertEqual(crop.num_vertices, count)
    self.assertEqual(
      crop.mirror_vertices.tolist(), _FACE.mirror_vertices.tolist()
    )
    self.assertIn("the 2000 vertices nearest the nose tip", crop.source)

  def test_the_mirror_map_is_kept_where_the_crop_is_symmetric(self):
    found = 0
    for count in range(600, 640):
      crop = nearest_to_nose(_FACE, count)
      if crop.mirror_vertices is not None:
        found += 1
        np.testing.assert_allclose(
          crop.mean_shape[crop.mirror_vertices],
          crop.mean_shape * [[-1, 1, 1]],
          atol=1e-4,
        )
    self.assertGreater(found, 0)
    self.assertLess(found, 40)

  def test_a_crop_of_a_crop_keeps_the_first_numbers(self):
    once = nearest_to_nose(_FACE, 900)
    twice = nearest_to_nose(once, 400)
    np.testing.assert_array_equal(
      twice.mean_shape, _FACE.mean_shape[twice.source_vertices]
    )

  def test_what_cannot_be_cropped(self):
    landmarks = _FACE.landmark_vertices.copy()
    landmarks[30] = -1
    apart = _FACE.triangles[(_FACE.mean_shape[_FACE.triangles, 1] < 20).all(1)]
    nose_off = _FACE.triangles[
      (_FACE.triangles != _FACE.landmark_vertices[30]).all(1)
    ]
    for model, count, message in (
      (_FACE.replace(landmark_vertices=landmarks), 9, "a vertex for the nose"),
      (_FACE, 2, "nearest_vertices: expected 3 to 2000"),
      (_FACE, 2_001, "nearest_vertices: expected 3 to 2000"),
      (
        _FACE.replace(triangles=apart),
        1_900,
        r"expected at most \d+, the vert",
      ),
      (_FACE.replace(triangles=nose_off), 9, "expected some at the nose tip"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        nearest_to_nose(model, count)


@pytest.mark.slow
class FullSizeTest(absltest.TestCase):
  def test_the_paper_s_crop_of_a_file_of_3ddfa_s_size(self):
    size = 53_215
    face = procedural_face_model(
      num_vertices=size, identity_dim=4, expression_dim=2
    )
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3 * size, 199)).astype(np.float32)
    w /= np.linalg.norm(w, axis=0)
    with tempfile.TemporaryDirectory() as scratch:
      source = pathlib.Path(scratch) / "Model_Shape.mat"
      scipy.io.savemat(
        source,
        {
          "mu_shape": 1e3 * face.mean_shape.reshape(-1, 1),
          "w": w,
          "sigma": np.full((199, 1), 5e5),
          "tri": face.triangles[:, ::-1].T + 1.0,
          "keypoints": face.landmark_vertices[None] + 1.0,
        },
      )
      scipy.io.savemat(
        source.with_name("Model_Expression.mat"),
        {
          "mu_exp": np.zeros((3 * size, 1)),
          "w_exp": 1e3 * w[:, :29],
          "sigma_exp": np.ones((29, 1)),
        },
      )
      model = read_3ddfa(source)
    crop = nearest_to_nose(model, NUM_VERTICES)
    _check_crop(self, model, crop, NUM_VERTICES)
    self.assertEqual((crop.identity_dim, crop.expression_dim), (199, 29))


if __name__ == "__main__":
  absltest.main()
