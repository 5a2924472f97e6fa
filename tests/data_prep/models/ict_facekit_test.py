import io
import json
import pathlib
import tarfile
import tempfile

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from data_prep.models.ict_facekit import read_ict_facekit
from disentangle3d.faces.morphable_model import (
  load_morphable_model,
  save_morphable_model,
  validate_morphable_model,
)
from tests.data_prep.models import facekit_tree
from tests.fixtures import SHARED_DATA

_ARCHIVE = SHARED_DATA / "ict_facekit" / "ict_facekit.tar.xz"


class SmallTreeTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    scratch = tempfile.TemporaryDirectory()
    cls.addClassCleanup(scratch.cleanup)
    cls.folder = pathlib.Path(scratch.name) / "FaceXModel"
    cls.folder.mkdir()
    cls.shapes_cm = facekit_tree.write_tree(cls.folder)
    cls.model = read_ict_facekit(cls.folder, identity_dim=2)

  def _with_file(self, name, content):
    """Replaces one file of the tree until the test's end."""
    path = self.folder / name
    before = path.read_bytes()
    self.addCleanup(path.write_bytes, before)
    if content is None:
      path.unlink()
    else:
      path.write_bytes(content)

  def test_millimetres_about_the_mean_landmark(self):
    neutral = 10 * self.shapes_cm[0]
    jaw = [1278, 1272, 12, 1834, 243, 781, 2199, 1447, 966]
    jaw += [3661, 4390, 3022, 2484, 4036, 2253, 3490, 3496]
    landmarks = jaw + facekit_tree.LANDMARKS[17:]
    expected = neutral[:9409] - neutral[landmarks].mean(0) * [0, 1, 1]
    np.testing.assert_allclose(self.model.mean_shape, expected, atol=1e-4)
    landmarks[-1] = -1  # 12,000 is outside the full face
    np.testing.assert_array_equal(self.model.landmark_vertices, landmarks)

  def test_identity_basis_is_the_offset_from_the_neutral(self):
    offsets = 10 * (self.shapes_cm[1:3] - self.shapes_cm[:1])[:, :9409]
    np.testing.assert_allclose(
      np.moveaxis(self.model.identity_basis, -1, 0), offsets, atol=1e-4
    )

  def test_mixing_makes_the_expression_basis(self):
    offsets = 10 * (self.shapes_cm[3:] - self.shapes_cm[:1])[:, :9409]
    self.assertEqual(self.model.expression_basis.shape, (9409, 3, 29))
    np.testing.assert_allclose(
      self.model.expression_basis,
      np.einsum("xvi,xe->vie", offsets, self.model.expression_mixing),
      atol=1e-4,
    )

  def test_expressions_shut_both_eyes_and_close_no_shut_jaw(self):
    model = read_ict_facekit(self.folder, identity_dim=1, expression_dim=53)
    samples = model.expression_samples.astype(np.float64)
    weights = samples @ model.expression_mixing.T
    self.assertAlmostEqual(weights.min(), 0, delta=1e-4)
    self.assertLessEqual(weights.max(), 1)
    left, right, jaw, close = weights[:, :4].T
    together = (left > 1e-3) & (right > 1e-3)
    self.assertGreater(together.sum(), 100)
    np.testing.assert_allclose(left[together], right[together], atol=1e-4)
    self.assertGreater(close.max(), 0.1)
    self.assertTrue((close <= 0.75 * jaw + 1e-4).all())

  def test_triangles_cover_the_regions_polygons_with_their_orientation(self):
    lines = (self.folder / "generic_neutral_mesh.obj").read_text().split("\n")
    polygons = [
      [int(corner.split("/")[0]) - 1 for corner in line.split()[1:]]
      for line in lines
      if line.startswith("f ")
    ]
    polygons = [p for p in polygons if max(p) < 9409]
    shape = self.model.mean_shape.astype(np.float64)

    def doubled_area(loops):
      """The area vector of all polygons, corner by corner."""
      start = np.array([v for loop in loops for v in loop])
      end = np.array([v for loop in loops for v in [*loop[1:], loop[0]]])
      return np.cross(shape[start], shape[end]).sum(0)

    triangles = self.model.triangles.tolist()
    self.assertLen(triangles, sum(len(p) - 2 for p in polygons))
    np.testing.assert_allclose(
      doubled_area(triangles), doubled_area(polygons), rtol=1e-6
    )

  def test_quads_are_cut_along_the_shorter_diagonal(self):
    edges = {
      frozenset(pair)
      for t in self.model.triangles.tolist()
      for pair in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))
    }
    shape = self.model.mean_shape.astype(np.float64)
    lines = (self.folder / "generic_neutral_mesh.obj").read_text().split("\n")
    checked = 0
    for line in [line for line in lines if line.startswith("f ")][548:2000]:
      quad = [int(corner.split("/")[0]) - 1 for corner in line.split()[1:]]
      # In this tree the diagonals of a quad that starts at an odd vertex are
      # mirrored, and as long as each other.
      if max(quad) < 9409 and quad[0] % 2 == 0:
        shortest = min(
          (quad[0], quad[2]),
          (quad[1], quad[3]),
          key=lambda pair: np.linalg.norm(shape[pair[0]] - shape[pair[1]]),
        )
        self.assertTrue(frozenset(shortest) in edges)
        checked += 1
    self.assertGreater(checked, 100)

  def test_mirror_map_is_found(self):
    expected = np.arange(9409)
    expected[1::2] += 1
    expected[2::2] -= 1
    np.testing.assert_array_equal(self.model.mirror_vertices, expected)

  def test_region_and_sizes_are_as_asked(self):
    model = read_ict_facekit(
      self.folder, region="narrow", identity_dim=1, expression_dim=53
    )
    validate_morphable_model(model)
    self.assertEqual(
      (model.num_vertices, model.identity_dim, model.expression_dim),
      (6706, 1, 53),
    )
    np.testing.assert_array_equal(model.landmark_vertices[-2:], [-1, -1])
    self.assertIsNone(model.mirror_vertices)  # 6,706 cuts through a pair
    # The same head: only vertices are left out.
    np.testing.assert_array_equal(
      model.mean_shape, self.model.mean_shape[:6706]
    )

  def test_canonical_file_gives_everything_back(self):
    with tempfile.TemporaryDirectory() as scratch:
      path = pathlib.Path(scratch) / "model.npz"
      save_morphable_model(path, self.model)
      again = load_morphable_model(path)
    self.assertEqual(again.licence, self.model.licence)
    self.assertIn("MIT", again.licence)
    self.assertIn("USC", again.licence)
    self.assertIn("ICT-FaceKit", again.source)
    for field in ("identity_basis", "expression_mixing", "source_vertices"):
      np.testing.assert_array_equal(
        getattr(again, field), getattr(self.model, field)
      )

  def test_missing_mesh_is_named(self):
    self._with_file("identity001.obj", None)
    with self.assertRaisesRegex(
      FileNotFoundError, r"identity001\.obj: no such file"
    ):
      read_ict_facekit(self.folder, identity_dim=2)

  def test_more_identities_than_there_are_is_a_missing_mesh(self):
    with self.assertRaisesRegex(FileNotFoundError, r"identity002\.obj"):
      read_ict_facekit(self.folder, identity_dim=3)

  @parameterized.named_parameters(
    ("vertices", 0.3, r"identity000\.obj: expected 26719 vertices"),
    ("empty", 0.0, r"identity000\.obj: expected 26719 .* got 0"),
  )
  def test_truncated_mesh_is_named(self, share, message):
    content = (self.folder / "identity000.obj").read_bytes()
    self._with_file("identity000.obj", content[: int(share * len(content))])
    with self.assertRaisesRegex(ValueError, message):
      read_ict_facekit(self.folder, identity_dim=1)

  @parameterized.named_parameters(
    ("cut_in_faces", lambda b: b[:-5000], r"expected 26384 polygons, got"),
    (
      "word_for_a_number",
      lambda b: b.replace(b"\nv 0.00000 ", b"\nv zero ", 1),
      r"expected three numbers a vertex",
    ),
    (
      "nan",
      lambda b: b.replace(b"\nv 0.00000 ", b"\nv nan ", 1),
      r"expected finite vertices",
    ),
    (
      "two_numbers",
      lambda b: b.replace(b"\nv 0.00000 ", b"\nv ", 1),
      r"expected three numbers a vertex",
    ),
    (
      "index_too_great",
      lambda b: b[: b.rindex(b"f ")] + b"f 1/1 2/2 26720/3\n",
      r"expected 3 or 4 vertices from 1 to 26719",
    ),
    (
      "edge",
      lambda b: b[: b.rindex(b"f ")] + b"f 1/1 2/2\n",
      r"expected 3 or 4 vertices from 1",
    ),
  )
  def test_malformed_neutral_is_named(self, spoil, message):
    path = self.folder / "generic_neutral_mesh.obj"
    self._with_file(path.name, spoil(path.read_bytes()))
    with self.assertRaisesRegex(
      ValueError, rf"generic_neutral_mesh\.obj: {message}"
    ):
      read_ict_facekit(self.folder, identity_dim=1)

  @parameterized.named_parameters(
    ("no_json", b"{", "expected JSON"),
    ("no_landmarks", b'{"expressions": []}', "idx_to_landmark_verts"),
    (
      "67_landmarks",
      b'{"expressions": [], "idx_to_landmark_verts": [%s]}'
      % b",".join([b"1"] * 67),
      "expected 68 vertex indices",
    ),
    (
      "no_expressions",
      b'{"expressions": ["a"], "idx_to_landmark_verts": [%s]}'
      % b",".join([b"1"] * 68),
      "expected 53 names",
    ),
    (
      "names_that_lead_outside",
      json.dumps(
        {
          "expressions": [f"../shape{i}" for i in range(53)],
          "idx_to_landmark_verts": [*range(68)],
        }
      ).encode(),
      "expected 53 names",
    ),
  )
  def test_malformed_indices_are_named(self, content, message):
    self._with_file("vertex_indices.json", content)
    with self.assertRaisesRegex(
      ValueError, rf"vertex_indices\.json: .*{message}"
    ):
      read_ict_facekit(self.folder, identity_dim=1)

  @parameterized.named_parameters(
    ("region", {"region": "nose"}, "region: expected one of"),
    ("identity", {"identity_dim": 101}, "identity_dim: expected 1 to 100"),
    ("expression", {"expression_dim": 54}, "expression_dim: expected 1 to 53"),
  )
  def test_options_out_of_range(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      read_ict_facekit(self.folder, **options)

  def test_archives_that_cannot_be_unpacked(self):
    noise = np.random.default_rng(0).bytes(300_000).hex().encode()
    for kind in ("gz", "bz2", "xz"):
      path = self.folder.with_name(f"broken.tar.{kind}")
      buffer = io.BytesIO()
      with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
        info = tarfile.TarInfo("FaceXModel/identity000.obj")
        info.size = len(noise)
        archive.addfile(info, io.BytesIO(noise))
      content = bytearray(buffer.getvalue())
      content[150_000:201_200] = bytes(range(256)) * 200
      for spoilt in (content, content[:140_000]):
        path.write_bytes(spoilt)
        with self.assertRaisesRegex(
          ValueError, rf"broken\.tar\.{kind}: expected the folder FaceXModel"
        ):
          read_ict_facekit(path)

  def test_source_that_is_no_folder_and_no_archive(self):
    with self.assertRaisesRegex(FileNotFoundError, "nothing: no such file"):
      read_ict_facekit(self.folder / "nothing")
    with self.assertRaisesRegex(
      ValueError, r"json: expected the folder Face.* successfully\)$"
    ):
      read_ict_facekit(self.folder / "vertex_indices.json")


@pytest.mark.slow
class RealReleaseTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    if not _ARCHIVE.is_file():
      self.skipTest(f"{_ARCHIVE} is not there")

  def test_the_archive_becomes_a_symmetric_head(self):
    model = read_ict_facekit(_ARCHIVE)
    validate_morphable_model(model)
    self.assertEqual(model.mean_shape.shape, (9409, 3))
    self.assertEqual(model.identity_basis.shape, (9409, 3, 100))
    self.assertEqual(model.expression_basis.shape, (9409, 3, 29))
    self.assertGreaterEqual(model.landmark_vertices.min(), 0)
    points = model.mean_shape[model.landmark_vertices]
    # formats.md: the outer eye corners are 8.92 cm apart.
    self.assertAlmostEqual(
      np.linalg.norm(points[36] - points[45]), 89.2, delta=0.1
    )
    self.assertGreater(points[30, 2], points[:, 2].max() - 1)  # nose tip
    self.assertGreater(points[27, 1], points[8, 1])
    # iBUG's left and right are each other's mirror images.
    mirror = model.mirror_vertices[model.landmark_vertices]
    np.testing.assert_array_equal(mirror[:17], model.landmark_vertices[16::-1])
    np.testing.assert_array_equal(
      mirror[[36, 39, 31, 48]], model.landmark_vertices[[45, 42, 35, 54]]
    )
    a, b, c = np.moveaxis(model.mean_shape[model.triangles], 1, 0)
    normals = np.cross(b - a, c - a)
    # By area; eye sockets and nostrils face elsewhere.
    front = normals[np.abs((a + b + c) / 3)[:, 0] < 40, 2]
    self.assertGreater(front.sum(), 0.9 * np.abs(front).sum())

  def test_a_truncated_archive_is_named(self):
    with tempfile.TemporaryDirectory() as scratch:
      path = pathlib.Path(scratch) / "cut.tar.xz"
      path.write_bytes(_ARCHIVE.read_bytes()[:200_000])
      with self.assertRaisesRegex(ValueError, r"cut\.tar\.xz: expected the"):
        read_ict_facekit(path)

  def test_the_archive_holds_what_the_reader_needs(self):
    with tarfile.open(_ARCHIVE) as archive:
      names = set(archive.getnames())
    self.assertContainsSubset(
      {"FaceXModel/vertex_indices.json", "FaceXModel/identity099.obj"}, names
    )


if __name__ == "__main__":
  absltest.main()
