import pathlib
import tempfile

from absl.testing import absltest, parameterized
from hypothesis import given, strategies
import numpy as np

from data_prep.models.npz_arrays import UNITS_MM, read_npz_arrays
from tests.data_prep.files.fuzzing import FEW, check_reader, damaged
from tests.data_prep.models import known_model
from tests.data_prep.models.known_model import MODEL


def _arrays(unit_mm: float = 1.0, **changes) -> dict[str, np.ndarray]:
  values = {
    "mean_shape": MODEL.mean_shape / unit_mm,
    "identity_basis": MODEL.identity_basis / unit_mm,
    "expression_basis": MODEL.expression_basis / unit_mm,
    "triangles": MODEL.triangles,
    "landmark_vertices": MODEL.landmark_vertices,
    "name": np.array("a model"),
    "licence": np.array("mine"),
  } | changes
  return {k: v for k, v in values.items() if v is not None}


class ReadNpzArraysTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "other.npz"

  def _read(self, arrays, **options):
    np.savez(self.path, **arrays)
    return read_npz_arrays(self.path, **options)

  @parameterized.parameters(*UNITS_MM)
  def test_every_unit_gives_the_known_model(self, unit):
    model = self._read(_arrays(UNITS_MM[unit]), unit=unit)
    known_model.assert_same_model(model)
    self.assertEqual((model.name, model.licence), ("a model", "mine"))
    self.assertEqual(model.source, "other.npz")

  def test_flat_arrays_with_deviations_and_indices_from_1(self):
    identity, identity_std = known_model.unit_modes(MODEL.identity_basis)
    expression, expression_std = known_model.unit_modes(MODEL.expression_basis)
    landmarks = np.where(np.arange(68) == 5, -1, MODEL.landmark_vertices)
    model = self._read(
      _arrays(
        mean_shape=known_model.flat_mean(),
        identity_basis=identity,
        identity_std=identity_std,
        expression_basis=expression,
        expression_std=expression_std[:, None],
        triangles=known_model.inward_triangles() + 1,
        landmark_vertices=landmarks + 1,
      ),
      index_base=1,
    )
    self.assertEqual(model.landmark_vertices[5], -1)
    whole = model.replace(landmark_vertices=MODEL.landmark_vertices)
    known_model.assert_same_model(whole)
    np.testing.assert_array_equal(model.landmark_vertices, landmarks)

  def test_blendshapes_become_modes(self):
    offsets = np.moveaxis(MODEL.expression_basis, -1, 0)
    model = self._read(_arrays(expression_basis=None, blendshapes=offsets))
    known_model.assert_same_model(model, expression=False)
    np.testing.assert_allclose(
      model.expression_basis,
      np.einsum("vcx,xe->vce", MODEL.expression_basis, model.expression_mixing),
      atol=1e-4,
    )
    weights = model.expression_samples @ model.expression_mixing.T
    self.assertLen(weights, 2_000)
    self.assertTrue(((weights > -1e-4) & (weights < 1)).all())

  def test_what_is_asked_for_goes_before_what_the_file_says(self):
    given = np.roll(MODEL.landmark_vertices, 1)
    model = self._read(_arrays(licence=None), licence="given", landmarks=given)
    self.assertEqual(model.licence, "given")
    np.testing.assert_array_equal(model.landmark_vertices, given)

  def test_a_text_may_be_stored_as_bytes(self):
    for licence in (
      np.array(b"research only"),
      np.array([b"research only"]),
      np.array(["research only"]),
      np.array("research only", object),
      np.array(b"research only", object),
    ):
      model = self._read(_arrays(licence=licence))
      self.assertEqual(model.licence, "research only")
    other = self._read(_arrays(licence=np.array("é".encode("latin-1"))))
    self.assertEqual(other.licence, "é")

  @parameterized.named_parameters(
    (
      "missing",
      {"triangles": None},
      "triangles: expected an array of this nam",
    ),
    ("licence", {"licence": None}, "licence: expected terms of use"),
    ("text", {"name": np.array(3)}, "name: expected a text"),
    ("objects", {"mean_shape": np.array([None], object)}, "mean_shape: expect"),
    ("nan", {"mean_shape": np.full((600, 3), np.nan)}, "mean_shape: .*finite"),
    ("deviations", {"identity_std": np.ones(3)}, "identity_std: expected one"),
    ("length", {"mean_shape": np.ones(1799)}, "mean_shape: expected 3 numbers"),
    (
      "modes",
      {"identity_basis": np.ones((599, 3, 2))},
      "identity_basis: expec",
    ),
    (
      "no_modes",
      {"identity_basis": np.ones((600, 3, 0))},
      r"identity_basis: expected at least one, got \[1800, 0\]",
    ),
    ("blendshapes", {"blendshapes": np.ones((2, 9))}, "expected 1800 numbers"),
    ("index", {"triangles": MODEL.triangles + 1}, "triangles: .*1 to 600"),
    ("corners", {"triangles": np.zeros((3, 4), int)}, r"shape \[any, 3\]"),
  )
  def test_malformed_files_are_named(self, changes, message):
    with self.assertRaisesRegex(ValueError, rf"other\.npz: .*{message}"):
      self._read(_arrays(**changes))

  def test_unknown_options(self):
    for options, message in (
      ({"unit": "inch"}, "unit: expected one of"),
      ({"index_base": 2}, "index_base: expected 0 or 1"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        read_npz_arrays(self.path, **options)

  @FEW
  @given(strategies.data())
  def test_any_bytes_are_read_or_named(self, data):
    with tempfile.TemporaryDirectory() as scratch:
      path = pathlib.Path(scratch) / "m.npz"
      np.savez(path, **_arrays())
      content = data.draw(damaged(path.read_bytes()))
      check_reader(read_npz_arrays, path, content)


if __name__ == "__main__":
  absltest.main()
