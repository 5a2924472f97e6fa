import pathlib
import tempfile

from absl.testing import absltest, parameterized
from hypothesis import given, strategies
import numpy as np

from data_prep.models.facescape import read_facescape
from tests.data_prep.files.fuzzing import FEW, check_reader, damaged
from tests.data_prep.models import known_model
from tests.data_prep.models.known_model import MODEL

_EXPRESSIONS = 5
_ID_MEAN = np.array([0.03, 0.2, -0.1, 0.05, 0.3])
_ID_VARIANCE = np.array([1e-4, 0.04, 0.09, 0.01, 0.25])
_OFFSETS = np.random.default_rng(0).normal(size=(1800, _EXPRESSIONS, 5))


def _arrays(**changes) -> dict[str, np.ndarray]:
  """A core whose neutral slice has the known mean and identity modes.

  Its 5 factors have 4 known modes; the last one moves nothing but the mean.
  """
  modes = known_model.flat_basis(MODEL.identity_basis)
  neutral = np.zeros((1800, 5))
  neutral[:, :4] = modes / np.sqrt(_ID_VARIANCE[:4])[None]
  neutral[:, 4] = (
    known_model.flat_mean() - neutral[:, :4] @ _ID_MEAN[:4]
  ) / _ID_MEAN[4]
  core = np.concatenate([neutral[:, None], neutral[:, None] + _OFFSETS], axis=1)
  return {
    "shape_bm_core": core,
    "id_mean": _ID_MEAN,
    "id_var": np.append(_ID_VARIANCE[:4], 0.0),
    "fv_indices": MODEL.triangles.astype(np.int64) + 1,
    "lm_list_v16": MODEL.landmark_vertices.astype(np.int64),
    "vert_10to16_dict": np.array({1: 2}, object),
  } | changes


class ReadFacescapeTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "facescape_bm.npz"

  def _read(self, arrays, **options):
    np.savez_compressed(self.path, **arrays)
    return read_facescape(self.path, **options)

  def test_the_neutral_face_is_the_known_model(self):
    model = self._read(_arrays())
    np.testing.assert_allclose(model.mean_shape, MODEL.mean_shape, atol=1e-3)
    np.testing.assert_allclose(
      model.identity_basis[..., :4], MODEL.identity_basis, atol=1e-3
    )
    self.assertFalse(model.identity_basis[..., 4].any())
    np.testing.assert_array_equal(model.mirror_vertices, MODEL.mirror_vertices)
    np.testing.assert_array_equal(
      model.landmark_vertices, MODEL.landmark_vertices
    )
    np.testing.assert_array_equal(model.triangles, MODEL.triangles)
    self.assertRegex(model.licence, "FaceScape.*not for commercial")

  def test_expressions_are_those_of_the_mean_identity(self):
    model = self._read(_arrays())
    blendshapes = _OFFSETS @ _ID_MEAN
    np.testing.assert_allclose(
      known_model.flat_basis(model.expression_basis),
      blendshapes @ model.expression_mixing,
      atol=1e-4,
    )
    self.assertEqual(model.expression_dim, _EXPRESSIONS)
    self.assertEqual(self._read(_arrays(), expression_dim=2).expression_dim, 2)

  @parameterized.named_parameters(
    (
      "id_exp",
      {"shape_bm_core": 900 * _arrays()["shape_bm_core"]},
      "id_exp fil",
    ),
    ("ids", {"id_mean": np.ones(4)}, "id_var: expected a variance for each"),
    (
      "factors",
      {"id_mean": np.ones(4), "id_var": np.ones(4)},
      r"shape_bm_core: expected shape \[3 V, X, 4\]",
    ),
    ("rows", {"shape_bm_core": np.ones((7, 3, 5))}, "expected 3 rows a vertex"),
    ("flat", {"shape_bm_core": np.ones(7)}, r"shape_bm_core: expected shape"),
    ("negative", {"id_var": -np.ones(5)}, "id_var: expected a variance"),
    (
      "zero_based",
      {"fv_indices": MODEL.triangles},
      "triangles: expected .* -1",
    ),
    (
      "landmarks",
      {"lm_list_v16": np.arange(67)},
      r"landmark_vertices: .*\[68\]",
    ),
    (
      "objects",
      {"id_var": np.array([None], object)},
      "id_var: expected numbers, got others",
    ),
    (
      "dependent",
      {"shape_bm_core": _arrays()["shape_bm_core"][:, [0, 1, 1]]},
      "at most 1, the dimensions",
    ),
  )
  def test_malformed_files_are_named(self, changes, message):
    with self.assertRaisesRegex(ValueError, rf"facescape_bm\.npz: .*{message}"):
      self._read(_arrays(**changes), expression_dim=2)

  def test_missing_arrays_are_named(self):
    arrays = _arrays()
    del arrays["lm_list_v16"]
    with self.assertRaisesRegex(ValueError, "a file without lm_list_v16"):
      self._read(arrays)

  def test_code_in_an_array_is_not_run(self):
    class Runs:
      def __reduce__(self):
        return pathlib.Path.touch, (target,)

    target = self.path.with_name("made")
    with self.assertRaisesRegex(
      ValueError, "id_var: expected a pickle of plain"
    ):
      self._read(_arrays(id_var=np.array([Runs()], object)))
    self.assertFalse(target.exists())

  @FEW
  @given(strategies.data())
  def test_any_bytes_are_read_or_named(self, data):
    with tempfile.TemporaryDirectory() as scratch:
      path = pathlib.Path(scratch) / "m.npz"
      small = _arrays(shape_bm_core=_arrays()["shape_bm_core"][:30])
      save = data.draw(strategies.sampled_from([np.savez, np.savez_compressed]))
      save(path, **small)
      content = data.draw(damaged(path.read_bytes()))
      check_reader(read_facescape, path, content)


if __name__ == "__main__":
  absltest.main()
