import pathlib
import pickle
import tempfile

from absl.testing import absltest, parameterized
from hypothesis import given, strategies
import numpy as np

from data_prep.models.flame import read_flame
from tests.data_prep.files import python2_pickle
from tests.data_prep.files.fuzzing import FEW, check_reader, damaged
from tests.data_prep.files.python2_pickle import Array, Object
from tests.data_prep.models import known_model
from tests.data_prep.models.known_model import MODEL

_METRES = 1e-3


def _shapedirs() -> np.ndarray:
  """Identity, then 100 expression modes, of which the model has 3."""
  more = np.zeros((known_model.NUM_VERTICES, 3, 97))
  return (
    np.concatenate(
      [MODEL.identity_basis, MODEL.expression_basis, more], axis=-1
    ).astype(np.float64)
    * _METRES
  )


def _content(**changes) -> dict:
  """What a release's pickle holds, by Python 2's means."""
  sparse = {
    "_shape": (5, known_model.NUM_VERTICES),
    "data": Array(np.ones(2)),
    "indices": Array(np.zeros(2, np.int32)),
    "indptr": Array(np.zeros(601, np.int32)),
    "maxprint": 50,
  }
  return {
    "J_regressor": Object("scipy.sparse.csc", "csc_matrix", sparse),
    "f": Array(known_model.MODEL.triangles.astype(np.uint32)),
    "kintree_table": Array(np.zeros((2, 5), np.int64)),
    "weights": Array(np.ones((known_model.NUM_VERTICES, 5))),
    "posedirs": Array(np.zeros((known_model.NUM_VERTICES, 3, 36))),
    "bs_style": "lbs",
    "J": Object("chumpy.reordering", "transpose", {"a": None}),
    "v_template": Array(MODEL.mean_shape.astype(np.float64) * _METRES),
    "shapedirs": Object("chumpy.ch", "Ch", {"x": Array(_shapedirs())}),
  } | changes


class ReadFlameTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)
    self.path = self.folder / "generic_model.pkl"

  def _read(self, content, **options):
    self.path.write_bytes(python2_pickle.dumps(content))
    return read_flame(
      self.path, **{"landmarks": MODEL.landmark_vertices} | options
    )

  def test_a_python_2_pickle_gives_the_known_model(self):
    model = self._read(_content())
    known_model.assert_same_model(model, expression=False)
    self.assertEqual(model.expression_dim, 100)
    np.testing.assert_allclose(
      model.expression_basis[..., :3], MODEL.expression_basis, atol=1e-4
    )
    self.assertFalse(model.expression_basis[..., 3:].any())
    self.assertRegex(model.licence, known_model.LICENCE_WORDS)

  def test_a_selection_of_modes_and_python_3_arrays(self):
    wide = np.concatenate([_shapedirs(), np.ones((600, 3, 6))], axis=-1)
    index = np.arange(wide.size).reshape(wide.shape)[..., :104].reshape(-1)
    select = Object(
      "chumpy.reordering",
      "Select",
      {
        "a": Object("chumpy.ch", "Ch", {"x": Array(wide)}),
        "idxs": Array(index),
        "preferred_shape": (600, 3, 104),
      },
    )
    model = self._read(_content(shapedirs=select))
    np.testing.assert_allclose(
      model.identity_basis, MODEL.identity_basis, atol=1e-4
    )
    plain = {
      "v_template": MODEL.mean_shape * np.float32(_METRES),
      "shapedirs": _shapedirs(),
      "f": MODEL.triangles,
    }
    self.path.write_bytes(pickle.dumps(plain, 4))
    known_model.assert_same_model(
      read_flame(self.path, landmarks=MODEL.landmark_vertices), expression=False
    )

  @parameterized.named_parameters(("full", "full", 0), ("static", "static", 17))
  def test_embedded_points_become_their_nearest_vertices(self, part, first):
    # A triangle at each landmark, most of the weight on its vertex.
    faces, weights = [], []
    for vertex in MODEL.landmark_vertices[first:].tolist():
      face = int(np.flatnonzero((MODEL.triangles == vertex).any(1))[0])
      corner = MODEL.triangles[face].tolist().index(vertex)
      faces.append(face)
      weights.append(np.where(np.arange(3) == corner, 0.9, 0.05))
    embedding = {
      f"{part}_lmk_faces_idx": np.array(faces),
      f"{part}_lmk_bary_coords": np.array(weights),
    }
    if part == "full":
      embedding = {k: v[None] for k, v in embedding.items()}
    path = self.folder / "landmark_embedding.npy"
    np.save(path, embedding, allow_pickle=True)
    model = self._read(_content(), landmarks=None, landmark_embedding=path)
    np.testing.assert_array_equal(
      model.landmark_vertices[first:], MODEL.landmark_vertices[first:]
    )
    self.assertTrue((model.landmark_vertices[:first] == -1).all())
    corners = MODEL.mean_shape[MODEL.triangles[faces]]
    points = np.einsum("lc,lcd->ld", weights, corners)
    farthest = np.linalg.norm(
      points - MODEL.mean_shape[MODEL.landmark_vertices[first:]], axis=1
    ).max()
    self.assertIn(f"at most {farthest:.2f} mm away", model.source)
    from_first, each = model.source.split("; from landmark ")[1].split(", mm: ")
    self.assertEqual(int(from_first.split()[0]), first)
    away = np.array(each.split(), float)
    self.assertLen(away, 68 - first)
    self.assertEqual(away.max(), round(farthest, 2))

  @parameterized.named_parameters(
    ("keys", {"full_lmk_faces_idx": np.zeros(68)}, "the key full_lmk_bary_co"),
    (
      "count",
      {
        "static_lmk_faces_idx": np.zeros(50, int),
        "static_lmk_bary_coords": np.ones((50, 3)),
      },
      "expected 51 points of 3 weights each, got 50",
    ),
    (
      "face",
      {
        "static_lmk_faces_idx": np.full(51, 10**6),
        "static_lmk_bary_coords": np.ones((51, 3)),
      },
      r"static_lmk_faces_idx: expected vertex indices from 0 to 1\d+, got",
    ),
    ("no_dict", [1, 2], "expected one dict in the array"),
  )
  def test_malformed_embeddings_are_named(self, content, message):
    path = self.folder / "embedding.npy"
    np.save(path, np.array(content, object), allow_pickle=True)
    with self.assertRaisesRegex(ValueError, rf"embedding\.npy: .*{message}"):
      self._read(_content(), landmarks=None, landmark_embedding=path)

  @parameterized.named_parameters(
    ("key", {"f": None}, r"f: expected an array, got a NoneType"),
    ("code", {"J": Object("os", "system", {})}, r"asks for os\.system at byte"),
    (
      "shape",
      {"shapedirs": Array(np.ones((5, 3, 104)))},
      r"shapedirs: expected \[600, 3\] as v_template, .* got \[5, 3, 104\]",
    ),
    (
      "modes",
      {"shapedirs": Array(np.ones((600, 3, 100)))},
      "more than the 100 expression modes",
    ),
    ("index", {"f": Array(np.full((2, 3), 600))}, "f: expected .* 0 to 599"),
    (
      "nan",
      {"v_template": Array(np.full((600, 3), np.nan))},
      "mean_shape: expected finite numbers",
    ),
  )
  def test_malformed_pickles_are_named(self, changes, message):
    with self.assertRaisesRegex(
      ValueError, rf"generic_model\.pkl: .*{message}"
    ):
      self._read(_content(**changes))

  def test_missing_keys_and_unknown_sizes_are_named(self):
    with self.assertRaisesRegex(ValueError, "a dict without shapedirs, f$"):
      self._read({"v_template": 1})
    with self.assertRaisesRegex(ValueError, "got 600; --landmarks takes"):
      self._read(_content(), landmarks=None)

  @FEW
  @given(strategies.data())
  def test_any_bytes_are_read_or_named(self, data):
    whole = python2_pickle.dumps(_content())
    content = data.draw(damaged(whole))
    with tempfile.TemporaryDirectory() as scratch:
      check_reader(
        lambda path: read_flame(path, landmarks=MODEL.landmark_vertices),
        pathlib.Path(scratch) / "m.pkl",
        content,
      )


if __name__ == "__main__":
  absltest.main()
