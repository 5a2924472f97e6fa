import pathlib

from absl.testing import absltest, parameterized
import numpy as np
import trimesh

from disentangle3d.faces import meshes

_PLY_HEADER = (
  "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\n"
  "property float y\nproperty float z\nelement face 2\n"
  "property list uchar int vertex_indices\nend_header\n"
  "0 0 0\n9 9 9\n1 0 0\n1 1 0\n0 1 0\n"
)


def _random_mesh(seed: int = 0):
  """30 points of which the triangles use 20, some points twice over."""
  rng = np.random.default_rng(seed)
  vertices = rng.normal(size=(30, 3)).astype(np.float32) * 80
  vertices[7] = vertices[3]
  triangles = rng.permutation(np.arange(60) % 20).reshape(20, 3)
  colors = rng.integers(0, 256, (30, 3), np.uint8)
  return vertices, triangles.astype(np.int32), colors


class RoundTripTest(parameterized.TestCase):
  def _path(self, name: str) -> pathlib.Path:
    return pathlib.Path(self.create_tempdir().full_path) / name

  @parameterized.product(suffix=["obj", "ply"], with_colors=[False, True])
  def test_reading_gives_back_what_was_written(self, suffix, with_colors):
    vertices, triangles, colors = _random_mesh()
    colors = colors if with_colors else None
    path = self._path(f"face.{suffix}")
    meshes.write_mesh(path, vertices, triangles, colors)
    mesh = meshes.read_mesh(path)
    # OBJ has 8 decimals, PLY the float32 itself.
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-5)
    np.testing.assert_array_equal(mesh.triangles, triangles)
    if with_colors:
      np.testing.assert_array_equal(mesh.colors, colors)
    else:
      self.assertIsNone(mesh.colors)
    self.assertLen(list(path.parent.iterdir()), 1)

  @parameterized.parameters("obj", "ply")
  def test_trimesh_reads_the_same_mesh(self, suffix):
    vertices, triangles, colors = _random_mesh()
    path = self._path(f"face.{suffix}")
    meshes.write_mesh(path, vertices, triangles, colors)
    mesh = trimesh.load(path, process=False, maintain_order=True)
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-5)
    np.testing.assert_array_equal(mesh.faces, triangles)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colors)

  def test_ply_is_binary(self):
    vertices, triangles, _ = _random_mesh()
    path = self._path("face.ply")
    meshes.write_mesh(path, vertices, triangles)
    self.assertIn(b"binary_little_endian", path.read_bytes()[:60])

  def test_glb_is_in_metres_and_has_colors(self):
    vertices, triangles, colors = _random_mesh()
    path = self._path("face.glb")
    meshes.write_mesh(path, vertices, triangles, colors)
    mesh = trimesh.load(path, force="mesh", process=False)
    np.testing.assert_allclose(mesh.vertices, vertices * 0.001, atol=1e-7)
    np.testing.assert_array_equal(mesh.faces, triangles)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colors)
    self.assertIn(b'"NORMAL"', path.read_bytes())

  def test_a_face_of_the_papers_size(self):
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(29_495, 3)).astype(np.float32) * 80
    triangles = rng.integers(0, 29_495, (58_000, 3), np.int32)
    path = self._path("face.ply")
    meshes.write_mesh(path, vertices, triangles)
    np.testing.assert_array_equal(meshes.read_mesh(path).vertices, vertices)


class ReadTest(parameterized.TestCase):
  def _write(self, name: str, content: str | bytes) -> pathlib.Path:
    path = pathlib.Path(self.create_tempdir().full_path) / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)
    return path

  def test_obj_quads_textures_and_negative_indices(self):
    path = self._write(
      "scan.obj",
      "# comment\nmtllib x.mtl\nv 0 0 0\nv 9 9 9\nv 1 0 0\nv 1 1 0\n"
      "v 0 1 0 # last\nvt 0 0\nvn 0 0 1\ng part\nusemtl skin\n"
      "f 1/1/1 3/1/1 4/1/1 5/1/1\nf -1//1 -2//1 -3//1\n",
    )
    mesh = meshes.read_mesh(path)
    np.testing.assert_array_equal(mesh.vertices[1], [9, 9, 9])
    np.testing.assert_array_equal(
      mesh.triangles, [[0, 2, 3], [0, 3, 4], [4, 3, 2]]
    )

  def test_obj_says_where_each_vertex_is_in_the_texture(self):
    lines = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 5 5 5\nvt 0.5 1\nvt .25 0 0\n"
    for faces, expected in (
      ("f 1/2 2/1 3/-1\n", [[0.25, 0], [0.5, 1], [0.25, 0], [np.nan] * 2]),
      ("f 1/2 2/1 3/2\nf 1/1 2/1 3/2\n", None),
      ("f 1/2 2 3/2\n", None),
      ("f 1/2 2/1 3/3\n", None),
    ):
      mesh = meshes.parse_obj((lines + faces).encode(), "a.obj")
      if expected is None:
        self.assertIsNone(mesh.texture)
      else:
        np.testing.assert_array_equal(mesh.texture, np.float32(expected))
    with self.assertRaisesRegex(ValueError, "a.obj, line 7: .*1/x"):
      meshes.parse_obj((lines + "f 1/x 2/1 3/1\n").encode(), "a.obj")

  def test_ascii_ply_with_a_quad_and_a_triangle(self):
    mesh = meshes.read_mesh(
      self._write("scan.ply", _PLY_HEADER + "4 0 2 3 4\n3 4 3 2\n")
    )
    np.testing.assert_array_equal(mesh.vertices[1], [9, 9, 9])
    self.assertEqual(
      {tuple(sorted(t)) for t in mesh.triangles.tolist()},
      {(0, 2, 3), (0, 3, 4), (2, 3, 4)},
    )

  def test_ply_of_quads_only(self):
    mesh = meshes.read_mesh(
      self._write("scan.ply", _PLY_HEADER + "4 0 2 3 4\n4 4 3 2 0\n")
    )
    self.assertEqual(mesh.triangles.shape, (4, 3))

  @parameterized.named_parameters(
    ("word", "v 0 0 zero\n", "line 1: could not convert"),
    ("short", "v 0 0\n", "line 1: expected 3 or 6 numbers"),
    ("corners", "v 0 0 0\nf 1 1\n", "line 2: expected at least 3 corners"),
    ("zero", "v 0 0 0\nf 0 1 1\n", "line 2: expected an index from 1"),
    (
      "beyond",
      "v 0 0 0\nf 1 2 1\n",
      "expected indices from 0 to 0, got 0 to 1",
    ),
    ("huge", "v 0 0 0\nf 1 1 9999999999\n", "line 2: expected an index"),
    ("large", "v 0 0 1e300\n", "finite"),
    ("nothing", "hello\n", "'v' lines, got none"),
    ("nan", "v 0 0 nan\n", "finite"),
    ("mixture", "v 0 0 0\nv 0 0 0 1 1 1\n", "mixture"),
    ("binary", b"v 0 0 \xff\xfe\n", "binary data"),
  )
  def test_broken_obj_is_one_line_that_names_it(self, content, problem):
    path = self._write("broken.obj", content)
    with self.assertRaisesRegex(ValueError, problem) as caught:
      meshes.read_mesh(path)
    self.assertStartsWith(str(caught.exception), str(path))
    self.assertNotIn("\n", str(caught.exception))

  def test_every_truncation_of_a_ply_is_refused(self):
    vertices, _, colors = _random_mesh()
    triangles = np.array([[0, 1, 2], [2, 1, 3]])
    whole = self._write("whole.ply", "")
    meshes.write_mesh(whole, vertices[:4], triangles, colors[:4])
    content = whole.read_bytes()
    path = whole.with_name("cut.ply")
    for length in range(len(content)):
      path.write_bytes(content[:length])
      with self.assertRaisesRegex(ValueError, "cut.ply: ") as caught:
        meshes.read_mesh(path)
      self.assertNotIn("\n", str(caught.exception))

  def test_missing_file_and_unknown_suffix(self):
    with self.assertRaisesRegex(FileNotFoundError, "none.ply: no such file"):
      meshes.read_mesh("none.ply")
    with self.assertRaisesRegex(ValueError, "face.stl: .*.obj, .ply"):
      meshes.read_mesh("face.stl")


class WriteErrorTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("suffix", "face.stl", {}, ValueError, "ends in .obj, .ply, .glb"),
    ("shape", "face.ply", {"vertices": np.zeros((3, 2))}, ValueError, "V, 3"),
    (
      "index",
      "face.ply",
      {"triangles": np.array([[0, 1, 30]])},
      ValueError,
      "indices from 0 to 29, got 0 to 30",
    ),
    (
      "color_dtype",
      "face.ply",
      {"colors": np.zeros((30, 3), np.float32)},
      TypeError,
      "colors: expected a uint8",
    ),
    (
      "color_count",
      "face.ply",
      {"colors": np.zeros((29, 3), np.uint8)},
      ValueError,
      "colors: expected shape .*V=30",
    ),
  )
  def test_wrong_arguments_leave_no_file(self, name, changes, error, problem):
    vertices, triangles, colors = _random_mesh()
    arguments = {
      "vertices": vertices,
      "triangles": triangles,
      "colors": colors,
    } | changes
    folder = pathlib.Path(self.create_tempdir().full_path)
    with self.assertRaisesRegex(error, problem):
      meshes.write_mesh(folder / name, **arguments)
    self.assertEmpty(list(folder.iterdir()))


if __name__ == "__main__":
  absltest.main()
