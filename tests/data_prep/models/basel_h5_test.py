import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import h5py
from hypothesis import given, strategies
import numpy as np

from data_prep.models.basel_h5 import read_basel_h5
from data_prep.models.landmark_lists import BASEL_LANDMARK_NAMES
from tests.data_prep.files.fuzzing import FEW, check_reader, damaged
from tests.data_prep.models import known_model
from tests.data_prep.models.known_model import MODEL

_OFFSET = np.random.default_rng(0).normal(size=MODEL.mean_shape.size)


def _named_points() -> dict[str, list[float]]:
  return {
    name: MODEL.mean_shape[MODEL.landmark_vertices[index]].tolist()
    for name, index in BASEL_LANDMARK_NAMES.items()
  } | {"left.ear.helix": [1.0, 2.0, 3.0]}


def _write(path: pathlib.Path, points=None, **changes) -> pathlib.Path:
  """The datasets that are read, by the published names."""
  values = {}
  for part, basis in (
    ("shape", MODEL.identity_basis),
    ("expression", MODEL.expression_basis),
  ):
    unit, deviations = known_model.unit_modes(basis)
    values[f"{part}/model/pcaBasis"] = unit.astype(np.float32)
    values[f"{part}/model/pcaVariance"] = (deviations**2).astype(np.float32)
    values[f"{part}/model/noiseVariance"] = np.float32(0)
    values[f"{part}/version/majorVersion"] = np.int32(0)
  values["shape/model/mean"] = known_model.flat_mean().astype(np.float32)
  values["expression/model/mean"] = _OFFSET.astype(np.float32)
  values["shape/representer/cells"] = MODEL.triangles.T.astype(np.uint32)
  values["metadata/landmarks/json"] = json.dumps(
    _named_points() if points is None else points
  )
  with h5py.File(path, "w") as file:
    for key, value in (values | changes).items():
      if value is not None:
        file[key] = value
  return path


class ReadBaselH5Test(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.path = pathlib.Path(scratch.name) / "model2019_face12.h5"

  def test_with_the_mean_expression_on_the_neutral(self):
    _write(
      self.path, **{"shape/model/mean": (known_model.flat_mean() - _OFFSET)}
    )
    model = read_basel_h5(
      self.path, expression_mean="neutral", landmarks=MODEL.landmark_vertices
    )
    known_model.assert_same_model(model)
    self.assertIn("mean expression in the neutral", model.source)
    self.assertRegex(model.licence, known_model.LICENCE_WORDS)

  def test_with_the_mean_expression_in_the_modes(self):
    model = read_basel_h5(_write(self.path), landmarks=MODEL.landmark_vertices)
    known_model.assert_same_model(model, expression=False)
    self.assertEqual(model.expression_dim, MODEL.expression_dim + 1)
    modes = known_model.flat_basis(model.expression_basis)
    known = known_model.flat_basis(MODEL.expression_basis)
    np.testing.assert_allclose(
      modes @ modes.T, known @ known.T + np.outer(_OFFSET, _OFFSET), atol=1e-3
    )
    # Whatever the file's own coefficients give can be made.
    shape = _OFFSET + known @ [1.0, -2.0, 0.5]
    coefficients, *_ = np.linalg.lstsq(modes, shape, rcond=None)
    np.testing.assert_allclose(modes @ coefficients, shape, atol=1e-3)

  @parameterized.named_parameters(
    ("dict", lambda points: points),
    ("list", lambda p: [{"id": k, "coordinates": v} for k, v in p.items()]),
  )
  def test_named_points_become_their_nearest_vertices(self, form):
    points = _named_points()
    points["center.nose.tip"][2] += 0.25
    model = read_basel_h5(_write(self.path, form(points)))
    # The lips are shut: the upper one has the vertex of both inner points.
    known = [*BASEL_LANDMARK_NAMES.values()]
    known.remove(66)
    self.assertTrue((np.delete(model.landmark_vertices, known) == -1).all())
    np.testing.assert_allclose(
      model.mean_shape[model.landmark_vertices[known]],
      MODEL.mean_shape[MODEL.landmark_vertices[known]],
      atol=1e-4,
    )
    self.assertIn(
      "11 named points, nearest vertices, at most 0.25 mm away", model.source
    )

  @parameterized.named_parameters(
    ("list", 53_149, "BFM2017 (bfm)"), ("none", 600, "Basel Face Model")
  )
  def test_releases_are_known_by_their_size(self, size, name):
    more = np.random.default_rng(1).normal(size=(3 * size - 1800, 1))
    unit, _ = known_model.unit_modes(MODEL.identity_basis)
    basis = np.concatenate([unit, np.zeros((len(more), 4))])
    _write(
      self.path,
      **{
        "shape/model/mean": np.concatenate(
          [known_model.flat_mean(), 50 * more[:, 0]]
        ),
        "shape/model/pcaBasis": basis,
        "expression/model/pcaBasis": basis[:, :3],
        "expression/model/mean": np.zeros(3 * size),
      },
    )
    model = read_basel_h5(self.path)
    self.assertEqual(model.name, name)
    self.assertEqual(
      model.landmark_vertices[30],
      8156 if size > 600 else MODEL.landmark_vertices[30],
    )

  @parameterized.named_parameters(
    (
      "missing",
      {"expression/model/mean": None},
      "expected a dataset, got none",
    ),
    (
      "group",
      {"shape/model/mean/x": 1, "shape/model/mean": None},
      "shape/model/mean: expected a dataset, got a group",
    ),
    ("text", {"shape/model/mean": "text"}, "expected numbers, got"),
    ("nan", {"shape/model/mean": np.full(1800, np.nan)}, "expected finite"),
    ("length", {"expression/model/mean": np.ones(9)}, "expected 1800 numbers"),
    (
      "variances",
      {"shape/model/pcaVariance": np.ones(3)},
      "expected one for ea",
    ),
    (
      "scaled",
      {"shape/model/pcaBasis": np.ones((1800, 4))},
      "expected unit col",
    ),
    ("cells", {"shape/representer/cells": np.full((3, 5), 600)}, "0 to 599"),
    ("json", {"metadata/landmarks/json": "{"}, "expected JSON of names"),
    ("names", {"metadata/landmarks/json": '{"a": [0, 0, 0]}'}, "got 0 such"),
    (
      "far",
      {"metadata/landmarks/json": '{"center.nose.tip": [0, 0, 999]}'},
      "got 1 such, at most 879.7 mm",
    ),
    (
      "coordinates",
      {"metadata/landmarks/json": '{"center.nose.tip": [0, 0]}'},
      "expected 3 coordinates",
    ),
    (
      "link",
      {"shape/model/mean": h5py.ExternalLink("/etc/hostname", "/mean")},
      "shape/model/mean: expected a dataset, got none",
    ),
    (
      "soft_link",
      {"shape/model/mean": h5py.SoftLink("/expression/model/mean")},
      "shape/model/mean: expected a dataset, got none",
    ),
  )
  def test_malformed_files_are_named(self, changes, message):
    _write(self.path, **changes)
    with self.assertRaisesRegex(ValueError, rf"face12\.h5: .*{message}"):
      read_basel_h5(self.path)

  def test_a_size_that_no_file_holds_is_refused(self):
    _write(self.path, **{"shape/model/mean": None})
    with h5py.File(self.path, "a") as file:
      file.create_dataset("shape/model/mean", (10**12,), "f4", chunks=(10**6,))
    with self.assertRaisesRegex(ValueError, "mean: expected a size that fits"):
      read_basel_h5(self.path)

  def test_data_in_another_file_is_refused(self):
    _write(self.path, **{"shape/model/mean": None})
    other = self.path.with_name("other.raw")
    other.write_bytes(bytes(7200))
    with h5py.File(self.path, "a") as file:
      file.create_dataset(
        "shape/model/mean", (1800,), "f4", external=[(str(other), 0, 7200)]
      )
    with self.assertRaisesRegex(ValueError, "in the file, got a reference"):
      read_basel_h5(self.path)

  def test_unknown_option(self):
    with self.assertRaisesRegex(ValueError, "expression_mean: expected one of"):
      read_basel_h5(self.path, expression_mean="gone")

  @FEW
  @given(strategies.data())
  def test_any_bytes_are_read_or_named(self, data):
    with tempfile.TemporaryDirectory() as scratch:
      path = _write(pathlib.Path(scratch) / "m.h5")
      content = data.draw(damaged(path.read_bytes()))
      check_reader(read_basel_h5, path, content)


if __name__ == "__main__":
  absltest.main()
