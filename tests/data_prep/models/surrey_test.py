import pathlib
import struct
import tempfile

from absl.testing import absltest, parameterized
from hypothesis import given, strategies
import numpy as np

from data_prep.models.surrey import read_surrey
from tests.data_prep.files.fuzzing import FEW, check_reader, damaged
from tests.data_prep.models import known_model
from tests.data_prep.models.known_model import MODEL

_SIZE = known_model.NUM_VERTICES
_OFFSET = np.random.default_rng(0).normal(size=3 * _SIZE)


def _matrix(array: np.ndarray) -> bytes:
  array = np.asarray(array).reshape(len(array), -1)
  return struct.pack("<ii", *array.shape) + array.astype("<f4").tobytes("F")


def _pca(mean, basis, variances, triangles) -> bytes:
  triangles = np.asarray(triangles, "<i4").reshape(-1, 3)
  return (
    _matrix(mean)
    + _matrix(basis)
    + _matrix(variances)
    + struct.pack("<Q", len(triangles))
    + triangles.tobytes()
  )


def _shape(mean=None) -> bytes:
  unit, deviations = known_model.unit_modes(MODEL.identity_basis)
  mean = known_model.flat_mean() if mean is None else mean
  return _pca(mean, unit, deviations**2, MODEL.triangles)


# A colour model of no numbers: 0 x 1, 0 x 0, 0 x 1 and no triangles.
_NO_COLOUR = struct.pack("<iiiiiiQ", 0, 1, 0, 0, 0, 1, 0)
_TEXTURE = struct.pack("<Q", 2) + np.zeros(4, "<f8").tobytes()
_NONE = b"\x01"


def _expression_pca() -> bytes:
  unit, deviations = known_model.unit_modes(MODEL.expression_basis)
  return b"\x00\x00\x00\x00\x00" + _pca(
    _OFFSET, unit, deviations**2, MODEL.triangles
  )


def _blendshapes() -> bytes:
  flat = known_model.flat_basis(MODEL.expression_basis)
  names = (b"anger", b"disgust", b"fear")
  items = (
    struct.pack("<Q", len(n)) + n + _matrix(column)
    for n, column in zip(names, flat.T, strict=True)
  )
  return struct.pack("<Q", 3) + b"".join(items)


def _version(number: int, expression: bytes = _NONE, mean=None) -> bytes:
  landmarks = b"\x00" + struct.pack("<QQ4si", 1, 4, b"nose", 7)
  return b"".join(
    [
      struct.pack("<I", number) + _shape(mean) + _NO_COLOUR,
      expression if number >= 2 else b"",
      landmarks if number >= 3 else b"",
      _TEXTURE,
      struct.pack("<Q3i", 1, 0, 1, 2) if number >= 4 else b"",
    ]
  )


class ReadSurreyTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "sfm.bin"
    self.blendshapes = pathlib.Path(scratch.name) / "blend.bin"
    self.blendshapes.write_bytes(_blendshapes())

  def _read(self, content, **options):
    self.path.write_bytes(content)
    return read_surrey(
      self.path, **{"landmarks": MODEL.landmark_vertices} | options
    )

  def test_version_1_with_blendshapes(self):
    model = self._read(_version(1), expression_source=self.blendshapes)
    known_model.assert_same_model(model, expression=False)
    self.assertEqual(model.expression_mixing.shape, (3, 3))
    np.testing.assert_allclose(
      model.expression_basis,
      np.einsum("vcx,xe->vce", MODEL.expression_basis, model.expression_mixing),
      atol=1e-3,
    )
    self.assertEqual(model.source, "sfm.bin, blend.bin; landmarks: given list")

  @parameterized.parameters(2, 3, 4)
  def test_later_versions_with_expressions_of_their_own(self, version):
    content = _version(
      version, _expression_pca(), known_model.flat_mean() - _OFFSET
    )
    model = self._read(content, expression_mean="neutral")
    known_model.assert_same_model(model)

  def test_the_mean_expression_goes_into_the_modes(self):
    model = self._read(_version(2, _expression_pca()))
    known_model.assert_same_model(model, expression=False)
    self.assertEqual(model.expression_dim, 4)

  def test_blendshapes_within_the_model(self):
    content = _version(3, b"\x00" + struct.pack("<i", 1) + _blendshapes())
    model = self._read(content, expression_dim=2)
    known_model.assert_same_model(model, expression=False)
    self.assertEqual(model.expression_mixing.shape, (3, 2))

  def test_the_published_size_has_its_name_landmarks_and_licence(self):
    size = 3_448
    mean = np.random.default_rng(0).normal(size=3 * size)
    basis = np.eye(3 * size, 2)
    content = (
      struct.pack("<I", 1)
      + _pca(mean, basis, [1.0, 4.0], [[0, 1, 2]])
      + _NO_COLOUR
      + _TEXTURE
    )
    self.blendshapes.write_bytes(
      struct.pack("<QQ", 1, 0) + _matrix(np.ones(3 * size))
    )
    model = self._read(
      content, expression_source=self.blendshapes, landmarks=None
    )
    self.assertEqual(model.name, "Surrey Face Model")
    self.assertEqual(model.landmark_vertices[30], 114)
    self.assertEqual(model.landmark_vertices[60], -1)
    self.assertEqual(model.identity_basis[0, 1, 1], 2.0)  # variance 4
    self.assertRegex(model.licence, "Surrey.*not for commercial")

  @parameterized.named_parameters(
    (
      "empty",
      lambda b: b"",
      "expected 4 bytes of the version at byte 0, got 0",
    ),
    ("version_0", lambda b: b"\0" + b[1:], "version from 1 to 4 at .*got 0$"),
    ("version_5", lambda b: b"\5" + b[1:], "version from 1 to 4 at .*got 5$"),
    (
      "cut",
      lambda b: b[:9000],
      r"expected \d+ bytes of the shape basis at byt",
    ),
    ("more", lambda b: b + b"xy", r"expected the end at byte \d+, got 2 bytes"),
    (
      "lying_rows",
      lambda b: b[:4] + struct.pack("<i", 2**30) + b[8:],
      r"expected 4294967296 bytes of the shape mean at byte 12, got",
    ),
    (
      "negative_rows",
      lambda b: b[:4] + struct.pack("<i", -3) + b[8:],
      "the size of the shape mean at byte 4, got -3 x 1",
    ),
    (
      "fewer_rows",
      lambda b: b[:4] + struct.pack("<i", 1797) + b[8:12] + b[24:],
      "expected a shape basis of 1797 x 4, .* got 1800 x 4",
    ),
    (
      "nan",
      lambda b: b[:12] + struct.pack("<f", np.nan) + b[16:],
      "finite numbers in the shape mean from byte 4",
    ),
    ("no_expressions", lambda b: b, r"expected expressions .*--expression_sou"),
  )
  def test_malformed_files_are_named(self, spoil, message):
    with self.assertRaisesRegex(ValueError, rf"sfm\.bin: .*{message}"):
      self._read(spoil(_version(1)))

  @parameterized.named_parameters(
    ("flag", b"\x07", r"expected 0 or 1 for expressions at byte \d+, got 7"),
    ("kind", b"\x00\x09\x00\x00\x00", r"expected 0 \(PCA\) or 1 .* got 9"),
    ("none", b"\x00\x01\x00\x00\x00" + bytes(8), "at least one blendshape"),
  )
  def test_malformed_expressions_are_named(self, expression, message):
    with self.assertRaisesRegex(ValueError, rf"sfm\.bin: .*{message}"):
      self._read(_version(2, expression))

  def test_blendshapes_of_another_mesh(self):
    self.blendshapes.write_bytes(struct.pack("<QQ", 1, 0) + _matrix(np.ones(9)))
    with self.assertRaisesRegex(ValueError, "expression_basis: expected shape"):
      self._read(_version(1), expression_source=self.blendshapes)

  def test_an_unknown_size_needs_landmarks(self):
    with self.assertRaisesRegex(ValueError, r"sfm\.bin: .*--landmarks takes"):
      self._read(_version(2, _expression_pca()), landmarks=None)

  @FEW
  @given(strategies.data())
  def test_any_bytes_are_read_or_named(self, data):
    whole = _version(4, _expression_pca())
    content = data.draw(damaged(whole))
    with tempfile.TemporaryDirectory() as scratch:
      check_reader(
        lambda path: read_surrey(path, landmarks=MODEL.landmark_vertices),
        pathlib.Path(scratch) / "m.bin",
        content,
      )

  @FEW
  @given(strategies.data())
  def test_any_bytes_of_blendshapes_are_read_or_named(self, data):
    content = data.draw(damaged(_blendshapes()))
    with tempfile.TemporaryDirectory() as scratch:
      source = pathlib.Path(scratch) / "m.bin"
      source.write_bytes(_version(1))
      path = pathlib.Path(scratch) / "blend.bin"
      path.write_bytes(content)
      try:
        read_surrey(
          source, expression_source=path, landmarks=MODEL.landmark_vertices
        )
      except ValueError as error:
        self.assertRegex(str(error), r"^\S+(blend|m)\.bin: ")


if __name__ == "__main__":
  absltest.main()
