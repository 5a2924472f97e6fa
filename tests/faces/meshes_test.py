import json
import pathlib
import shutil
import struct
import subprocess
import sys
import unittest

from absl.testing import absltest, parameterized
import numpy as np
import pytest
import trimesh

from disentangle3d.faces import gltf, meshes
from disentangle3d.faces.procedural import procedural_face_model

_PLY_HEADER = (
  "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\n"
  "property float y\nproperty float z\nelement face 2\n"
  "property list uchar int vertex_indices\nend_header\n"
  "0 0 0\n9 9 9\n1 0 0\n1 1 0\n0 1 0\n"
)


_VALIDATOR = pathlib.Path(sys.prefix) / "node_modules" / "gltf-validator"
_VALIDATE = """
const [validator, file] = process.argv.slice(1);
const content = new Uint8Array(require("fs").readFileSync(file));
require(validator).validateBytes(content).then(
  (told) => console.log(JSON.stringify(told)));
"""


def _octahedron():
  """80 mm around the origin, counter-clockwise from outside by hand."""
  vertices = np.kron(np.eye(3), [[1], [-1]]).astype(np.float32) * 80
  triangles = np.array(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4]]
    + [[2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]],
    np.int32,
  )
  colors = np.arange(0, 252, 14, dtype=np.uint8).reshape(6, 3)
  return vertices, triangles, colors


def _all_outward(points: np.ndarray, triangles: np.ndarray) -> bool:
  """Whether all triangles of a shape around the origin face away from it."""
  a, b, c = np.moveaxis(points[triangles], 1, 0)
  return bool(np.all(np.sum(np.cross(b - a, c - a) * a, -1) > 0))


def _linear(byte: int) -> float:
  """IEC 61966-2-1 for one number."""
  coded = byte / 255
  return coded / 12.92 if coded <= 0.04045 else ((coded + 0.055) / 1.055) ** 2.4


def _glb_content(content: bytes):
  """The JSON of a GLB and its arrays, by glTF 2.0's definition."""
  magic, version, length = struct.unpack_from("<4sII", content)
  assert (magic, version, length) == (b"glTF", 2, len(content))
  size, kind = struct.unpack_from("<I4s", content, 12)
  assert kind == b"JSON"
  tree = json.loads(content[20 : 20 + size])
  after, kind = struct.unpack_from("<I4s", content, 20 + size)
  assert kind == b"BIN\0" and 28 + size + after == len(content)
  data = content[28 + size :]
  (primitive,) = tree["meshes"][0]["primitives"]
  arrays = {}
  for name, number in (
    *primitive["attributes"].items(),
    ("indices", primitive["indices"]),
  ):
    accessor = tree["accessors"][number]
    view = tree["bufferViews"][accessor["bufferView"]]
    kind = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor["type"]]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    values = np.frombuffer(data, kind, accessor["count"] * width, start)
    arrays[name] = values.reshape(-1, width)
  return tree, arrays


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

  def test_a_face_of_the_papers_size(self):
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(29_495, 3)).astype(np.float32) * 80
    triangles = rng.integers(0, 29_495, (58_000, 3), np.int32)
    path = self._path("face.ply")
    meshes.write_mesh(path, vertices, triangles)
    np.testing.assert_array_equal(meshes.read_mesh(path).vertices, vertices)


class MeaningTest(parameterized.TestCase):
  """What the bytes mean by the format, not what their writer reads in them."""

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)

  def _written(self, suffix: str, mesh=None) -> pathlib.Path:
    path = self.folder / f"face.{suffix}"
    meshes.write_mesh(path, *(mesh or _octahedron()))
    return path

  def test_obj_counts_from_1_and_colours_are_srgb_after_the_position(self):
    vertices, triangles, colors = _octahedron()
    lines = self._written("obj").read_text("ascii").splitlines()
    rows = [line.split() for line in lines if line[:2] == "v "]
    numbers = np.array([[float(word) for word in row[1:]] for row in rows])
    np.testing.assert_allclose(numbers[:, :3], vertices, atol=1e-6)
    np.testing.assert_allclose(numbers[:, 3:] * 255, colors, atol=1e-4)
    faces = np.array([line.split()[1:] for line in lines if line[:2] == "f "])
    faces = faces.astype(int)
    self.assertEqual(faces.min(), 1)
    np.testing.assert_array_equal(faces - 1, triangles)
    self.assertTrue(_all_outward(numbers[:, :3], faces - 1))

  def test_ply_declares_srgb_bytes_and_counts_from_0(self):
    vertices, triangles, colors = _octahedron()
    head, body = self._written("ply").read_bytes().split(b"end_header\n")
    properties = [
      line.split()[1:] for line in head.splitlines() if b"property" in line
    ]
    self.assertEqual(
      properties,
      [
        *([b"float", axis] for axis in (b"x", b"y", b"z")),
        *([b"uchar", name] for name in (b"red", b"green", b"blue", b"alpha")),
        [b"list", b"uchar", b"int", b"vertex_indices"],
      ],
    )
    points = np.frombuffer(body, "<f4,<f4,<f4,u1,u1,u1,u1", len(vertices))
    rows = np.array(points.tolist())
    np.testing.assert_array_equal(rows[:, :3], vertices)
    np.testing.assert_array_equal(rows[:, 3:6], colors)
    np.testing.assert_array_equal(rows[:, 6], 255)
    faces = np.frombuffer(body[points.nbytes :], "u1,<i4,<i4,<i4").tolist()
    np.testing.assert_array_equal([face[1:] for face in faces], triangles)
    self.assertEqual({face[0] for face in faces}, {3})
    self.assertTrue(_all_outward(rows[:, :3], triangles))

  def test_glb_has_metres_linear_colours_and_outward_normals(self):
    vertices, triangles, colors = _octahedron()
    tree, arrays = _glb_content(self._written("glb").read_bytes())
    self.assertEqual(tree["asset"]["version"], "2.0")
    self.assertEqual(set(arrays), {"POSITION", "NORMAL", "COLOR_0", "indices"})
    np.testing.assert_allclose(
      arrays["POSITION"], vertices * 0.001, rtol=1e-6, atol=1e-9
    )
    np.testing.assert_array_equal(arrays["indices"].reshape(-1, 3), triangles)
    np.testing.assert_allclose(arrays["NORMAL"], vertices / 80, atol=1e-6)
    np.testing.assert_allclose(
      arrays["COLOR_0"],
      [[_linear(byte) for byte in color] for color in colors.tolist()],
      atol=1e-6,
    )

  def test_a_glb_in_a_skin_has_its_picture_and_the_places_in_it(self):
    vertices, triangles, _ = _octahedron()
    unused = np.concatenate([[[9, 9, 9]], vertices]).astype(np.float32)
    places = np.linspace(0, 1, 14).reshape(7, 2).astype(np.float32)
    path = self.folder / "skin.glb"
    jpeg = b"\xff\xd8 as if"
    gltf.write_skinned(path, unused, triangles + 1, jpeg=jpeg, places=places)
    tree, arrays = _glb_content(path.read_bytes())
    np.testing.assert_allclose(
      arrays["POSITION"], vertices * 0.001, rtol=1e-6, atol=1e-9
    )
    np.testing.assert_array_equal(arrays["indices"].reshape(-1, 3), triangles)
    np.testing.assert_array_equal(arrays["TEXCOORD_0"], places[1:])
    self.assertNotIn("COLOR_0", arrays)
    (material,) = tree["materials"]
    self.assertEqual(material["extensions"], {"KHR_materials_unlit": {}})
    self.assertEqual(tree["extensionsUsed"], ["KHR_materials_unlit"])
    (image,) = tree["images"]
    self.assertEqual(image["mimeType"], "image/jpeg")
    view = tree["bufferViews"][image["bufferView"]]
    self.assertIn(jpeg, path.read_bytes())
    self.assertEqual(view["byteLength"], len(jpeg))

  def test_srgb_bytes_become_the_light_they_stand_for(self):
    vertices, triangles, colors = _octahedron()
    colors[:] = np.array([[0, 10, 128], [188, 255, 11]] * 3)
    path = self.folder / "face.glb"
    meshes.write_mesh(path, vertices, triangles, colors)
    _, arrays = _glb_content(path.read_bytes())
    # Published values: 128 is 21.6 % of the light, 188 half of it.
    np.testing.assert_allclose(
      arrays["COLOR_0"][:2],
      [[0, 0.003035, 0.215861], [0.502886, 1, 0.003347]],
      atol=1e-6,
    )

  def test_glb_is_skin_that_is_seen_from_outside_and_no_metal(self):
    for mesh, factor in (
      (_octahedron(), [1, 1, 1, 1]),
      (_octahedron()[:2], [0.57, 0.57, 0.57, 1]),
    ):
      tree, arrays = _glb_content(self._written("glb", mesh).read_bytes())
      self.assertEqual("COLOR_0" in arrays, len(mesh) == 3)
      (material,) = tree["materials"]
      self.assertEqual(tree["meshes"][0]["primitives"][0]["material"], 0)
      self.assertIs(material["doubleSided"], False)
      self.assertEqual(
        material["pbrMetallicRoughness"],
        {
          "baseColorFactor": factor,
          "metallicFactor": 0,
          "roughnessFactor": 0.9,
        },
      )

  def test_every_normal_of_a_glb_has_unit_length(self):
    mesh = _random_mesh()  # of which triangles use 20 points of 30
    _, arrays = _glb_content(self._written("glb", mesh).read_bytes())
    lengths = np.linalg.norm(arrays["NORMAL"], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    self.assertLen(lengths, 30)

  @pytest.mark.slow
  @unittest.skipUnless(
    shutil.which("node") and _VALIDATOR.is_dir(),
    "gltf-validator is not installed (`make test-slow` does, where npm is)",
  )
  def test_the_khronos_validator_has_nothing_to_say(self):
    rng = np.random.default_rng(0)
    model = procedural_face_model(
      num_vertices=29_495, identity_dim=1, expression_dim=1
    )
    shape = np.asarray(model.mean_shape)
    colors = rng.integers(0, 256, shape.shape, np.uint8)
    face = (shape, np.asarray(model.triangles))
    for mesh in (_octahedron(), _random_mesh(), face, (*face, colors)):
      told = subprocess.run(
        ["node", "-e", _VALIDATE, _VALIDATOR, self._written("glb", mesh)],
        capture_output=True,
        check=True,
        timeout=60,
      )
      issues = json.loads(told.stdout)["issues"]
      self.assertEqual((issues["numErrors"], issues["numWarnings"]), (0, 0))


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

  @parameterized.named_parameters(
    ("bytes", "uchar", "255 51 0"),
    ("wide", "int", "255 51 0"),
    ("deep", "ushort", "65535 13107 0"),
    ("shares", "float", "1 0.2 0"),
    ("shares_beyond_1", "float", "1.02 0.2 0"),
    ("shares_of_255", "double", "255.0 51.0 0"),
  )
  def test_colours_of_a_ply_are_read_by_their_range(self, kind, color):
    names = ("red", "green", "blue")
    head, body = _PLY_HEADER.split("element face 2\n")
    faces, points = body.split("end_header\n")
    content = (
      head
      + "".join(f"property {kind} {name}\n" for name in names)
      + f"element face 2\n{faces}end_header\n"
      + "".join(f"{line} {color}\n" for line in points.splitlines())
      + "3 0 1 2\n3 0 1 3\n"
    )
    mesh = meshes.read_mesh(self._write("scan.ply", content))
    np.testing.assert_array_equal(mesh.colors, [[255, 51, 0]] * 5)

  def test_obj_as_scanners_write_it(self):
    mesh = meshes.read_mesh(
      self._write(
        "scan.obj",
        "\ufeffv 0 0 0 255 51 0\r\nv 1 0 0 1 2 3\r\nv 0 1 0 4 5 6\r\n"
        "f 1 \\\r\n2 \\\r\n3\r\n",
      )
    )
    self.assertLen(mesh.vertices, 3)
    np.testing.assert_array_equal(mesh.triangles, [[0, 1, 2]])
    np.testing.assert_array_equal(
      mesh.colors, [[255, 51, 0], [1, 2, 3], [4, 5, 6]]
    )
    with self.assertRaisesRegex(ValueError, "line 3: expected an index"):
      meshes.read_mesh(self._write("bad.obj", "v 0 0 0\nf 1 \\\n1 0\n"))

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
    (
      "nothing_to_see",
      "face.glb",
      {"triangles": np.zeros((0, 3), np.int32)},
      ValueError,
      "triangles: expected at least one in a GLB",
    ),
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
