import pathlib
import tempfile

from absl.testing import absltest, parameterized
from hypothesis import given, strategies
import numpy as np
import scipy.io

from data_prep.models.basel_mat import read_3ddfa, read_bfm2009
from tests.data_prep.files.fuzzing import FEW, check_reader, damaged
from tests.data_prep.models import known_model
from tests.data_prep.models.known_model import MODEL

_MICROMETRES = 1e3
_SIZE = known_model.NUM_VERTICES


def _write_3ddfa(folder: pathlib.Path, **changes) -> pathlib.Path:
  """The pair, in micrometres; a value of None leaves the variable out."""
  w, sigma = known_model.unit_modes(MODEL.identity_basis)
  # 3DDFA's expression modes are not of unit length.
  w_exp = known_model.flat_basis(MODEL.expression_basis) * _MICROMETRES / 2
  offset = np.random.default_rng(0).normal(size=3 * _SIZE)
  mean = (known_model.flat_mean() - offset) * _MICROMETRES
  values = {
    "mu_shape": mean[:, None],
    "w": w,
    "sigma": sigma[:, None] * _MICROMETRES,
    "tri": (known_model.inward_triangles() + 1).T.astype(np.float64),
    "keypoints": MODEL.landmark_vertices[None].astype(np.float64) + 1,
    "segbin": np.zeros((4, 1), np.uint8),
    "mu_exp": offset[:, None] * _MICROMETRES,
    "w_exp": w_exp,
    "sigma_exp": np.full((MODEL.expression_dim, 1), 2.0),
  } | changes
  values = {k: v for k, v in values.items() if v is not None}
  ours = {k: v for k, v in values.items() if k.endswith("_exp")}
  scipy.io.savemat(folder / "Model_Expression.mat", ours)
  scipy.io.savemat(
    folder / "Model_Shape.mat",
    {k: v for k, v in values.items() if k not in ours},
    do_compression=True,
  )
  return folder / "Model_Shape.mat"


def _write_bfm2009(path: pathlib.Path, **changes) -> pathlib.Path:
  pc, ev = known_model.unit_modes(MODEL.identity_basis)
  values = {
    "shapeMU": known_model.flat_mean()[:, None].astype(np.float32) * 1000,
    "shapePC": pc.astype(np.float32),
    "shapeEV": ev[:, None].astype(np.float32) * 1000,
    "tl": (known_model.inward_triangles() + 1).astype(np.float64),
    "texMU": np.zeros((3 * _SIZE, 1), np.float32),
  } | changes
  scipy.io.savemat(path, values)
  return path


def _write_exp_pca(folder: pathlib.Path, vertices=None) -> pathlib.Path:
  """int32 count, float32 mean, float32 modes; the deviations in a text."""
  modes = MODEL.expression_basis[slice(None) if vertices is None else vertices]
  unit, deviations = known_model.unit_modes(modes)
  ignored_mean = np.full(len(unit), 5e4, "<f4")
  (folder / "Exp_Pca.bin").write_bytes(
    np.int32(MODEL.expression_dim).astype("<i4").tobytes()
    + ignored_mean.tobytes()
    + unit.T.astype("<f4").tobytes()
  )
  (folder / "std_exp.txt").write_text(
    "\n".join(str(1000 * d) for d in deviations)
  )
  return folder / "Exp_Pca.bin"


class _ScratchTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)


class Read3ddfaTest(_ScratchTest):
  def test_the_pair_gives_the_known_model(self):
    model = read_3ddfa(_write_3ddfa(self.folder))
    known_model.assert_same_model(model)
    self.assertRegex(model.licence, "Basel Face Model.*FaceWarehouse")
    self.assertEqual(model.source, "Model_Shape.mat, Model_Expression.mat")

  def test_exp_pca_takes_the_place_of_the_expressions(self):
    source = _write_3ddfa(
      self.folder, mu_shape=1000 * known_model.flat_mean()[:, None], w_exp=None
    )
    model = read_3ddfa(source, expression_source=_write_exp_pca(self.folder))
    known_model.assert_same_model(model)

  def test_triangles_may_be_stored_by_rows_and_outwards(self):
    source = _write_3ddfa(self.folder, tri=MODEL.triangles + 1)
    known_model.assert_same_model(read_3ddfa(source))

  def test_a_given_list_replaces_the_keypoints(self):
    given = np.roll(MODEL.landmark_vertices, 1)
    model = read_3ddfa(_write_3ddfa(self.folder), landmarks=given)
    np.testing.assert_array_equal(model.landmark_vertices, given)

  @parameterized.named_parameters(
    (
      "no_sigma",
      {"sigma": None},
      r"Model_Shape\.mat.*: expected the vari.*sigma",
    ),
    (
      "no_expression_deviations",
      {"sigma_exp": None},
      r"Model_Expression\.mat: .* without sigma_exp",
    ),
    ("deviations", {"sigma": np.ones((3, 1))}, "sigma: expected one for each"),
    ("negative", {"sigma": -np.ones((4, 1))}, "sigma: expected positive"),
    ("nan", {"w": np.full((1800, 4), np.nan)}, "w: expected finite numbers"),
    ("text", {"w": "text"}, "w: expected finite numbers"),
    ("vertices", {"w": np.ones((1797, 4))}, r"identity_basis: .*\[1800, any\]"),
    (
      "zero_based",
      {"tri": MODEL.triangles.T},
      "triangles: expected .* 0 to 599",
    ),
    ("half", {"tri": MODEL.triangles.T + 1.5}, "triangles: expected .*others"),
    (
      "too_great",
      {"keypoints": np.full((1, 68), 601)},
      "landmark_vertices: expected vertex indices from -1 to 599",
    ),
    (
      "fewer_landmarks",
      {"keypoints": np.ones((1, 67))},
      r"Model_Shape\.mat: landmark_vertices: expected shape \[68\]",
    ),
    (
      "other_mesh",
      {"mu_exp": np.zeros((9, 1)), "w_exp": np.ones((9, 3))},
      r"Model_Expression\.mat: expected expressions of 600 vertices, got 3",
    ),
  )
  def test_malformed_files_are_named(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      read_3ddfa(_write_3ddfa(self.folder, **changes))

  def test_damaged_files_are_named(self):
    source = _write_3ddfa(self.folder)
    whole = source.read_bytes()
    for content in (whole[:5000], b"", b"MATLAB 5.0" + bytes(200)):
      source.write_bytes(content)
      with self.assertRaisesRegex(ValueError, r"Model_Shape\.mat.*: expected"):
        read_3ddfa(source)
    source.write_bytes(
      b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM" + bytes(512)
    )
    with self.assertRaisesRegex(ValueError, "got one of version 7.3"):
      read_3ddfa(source)
    with self.assertRaises(FileNotFoundError):
      read_3ddfa(self.folder / "nothing.mat")

  @FEW
  @given(strategies.data())
  def test_any_bytes_are_read_or_named(self, data):
    with tempfile.TemporaryDirectory() as scratch:
      source = _write_3ddfa(pathlib.Path(scratch))
      content = data.draw(damaged(source.read_bytes()))
      check_reader(read_3ddfa, source, content)


class ReadBfm2009Test(_ScratchTest):
  def test_expressions_for_every_vertex(self):
    model = read_bfm2009(
      _write_bfm2009(self.folder / "01_MorphableModel.mat"),
      expression_source=_write_exp_pca(self.folder),
      landmarks=MODEL.landmark_vertices,
    )
    known_model.assert_same_model(model, tolerance_mm=2e-3)
    self.assertIsNone(model.source_vertices)
    self.assertIn("given list", model.source)

  def test_vertices_without_expressions_are_left_out(self):
    kept = np.delete(np.arange(_SIZE), [10, 11, 400])
    scipy.io.savemat(
      self.folder / "BFM_exp_idx.mat", {"trimIndex": kept[:, None] + 1.0}
    )
    model = read_bfm2009(
      _write_bfm2009(self.folder / "01_MorphableModel.mat"),
      expression_source=_write_exp_pca(self.folder, kept),
      trim_index=self.folder / "BFM_exp_idx.mat",
      landmarks=MODEL.landmark_vertices,
    )
    np.testing.assert_array_equal(model.source_vertices, kept)
    for field in ("mean_shape", "identity_basis", "expression_basis"):
      np.testing.assert_allclose(
        getattr(model, field), getattr(MODEL, field)[kept], atol=2e-3
      )
    renumbered = {old: new for new, old in enumerate(kept.tolist())}
    np.testing.assert_array_equal(
      model.landmark_vertices,
      [renumbered.get(v, -1) for v in MODEL.landmark_vertices.tolist()],
    )
    whole = [
      [renumbered[v] for v in triangle]
      for triangle in MODEL.triangles.tolist()
      if not {10, 11, 400} & set(triangle)
    ]
    self.assertEqual(
      {frozenset(t) for t in model.triangles.tolist()},
      {frozenset(t) for t in whole},
    )

  def test_unknown_meshes_and_other_expressions_are_named(self):
    source = _write_bfm2009(self.folder / "01_MorphableModel.mat")
    expression = _write_exp_pca(self.folder, np.arange(590))
    with self.assertRaisesRegex(
      ValueError, r"01_Morph.*53490 \(BFM2009\).* got 600; --landmarks takes"
    ):
      read_bfm2009(source, expression_source=expression)
    with self.assertRaisesRegex(
      ValueError, r"Exp_Pca\.bin: expected, after .* \(3\), .*--trim_index says"
    ):
      read_bfm2009(
        source, expression_source=expression, landmarks=MODEL.landmark_vertices
      )
    scipy.io.savemat(self.folder / "index.mat", {"trimIndex": [[3, 2]]})
    with self.assertRaisesRegex(ValueError, r"index\.mat: trimIndex: exp.*asc"):
      read_bfm2009(
        source,
        expression_source=expression,
        trim_index=self.folder / "index.mat",
        landmarks=MODEL.landmark_vertices,
      )

  @parameterized.named_parameters(
    ("number", "1.0 2.0 three", "expected numbers"),
    ("count", "1.0 2.0", r"std_exp\.txt: numbers: expected one for each"),
    ("sign", "1.0 2.0 -3.0", "expected positive standard deviations"),
    ("nan", "1.0 2.0 nan", "expected positive standard deviations"),
  )
  def test_deviations_are_checked(self, text, message):
    expression = _write_exp_pca(self.folder)
    (self.folder / "std_exp.txt").write_text(text)
    with self.assertRaisesRegex(ValueError, message):
      read_bfm2009(
        _write_bfm2009(self.folder / "m.mat"),
        expression_source=expression,
        landmarks=MODEL.landmark_vertices,
      )

  @FEW
  @given(strategies.data())
  def test_any_bytes_of_exp_pca_are_read_or_named(self, data):
    with tempfile.TemporaryDirectory() as scratch:
      folder = pathlib.Path(scratch)
      source = _write_bfm2009(folder / "m.mat")
      path = _write_exp_pca(folder)
      check_reader(
        lambda p: read_bfm2009(
          source, expression_source=p, landmarks=MODEL.landmark_vertices
        ),
        path,
        data.draw(damaged(path.read_bytes())),
      )


if __name__ == "__main__":
  absltest.main()
