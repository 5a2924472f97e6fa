"""The rasteriser against a loop over every pixel and triangle, and spheres."""

import functools
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces import rasterizer, rendering, shading
from disentangle3d.geometry import Camera, rotation_from_euler

HEIGHT, WIDTH = 40, 32
MOST = 400


def still_camera(batch=1, scale=1.0, translation=(0.0, 0.0)):
  return Camera(
    scale=jnp.full((batch,), scale, jnp.float32),
    rotation=jnp.tile(jnp.eye(3)[None], (batch, 1, 1)),
    translation=jnp.tile(jnp.asarray(translation)[None], (batch, 1)),
  )


def sphere(rows=40, columns=60, radius=10.0):
  """A closed sphere, counter-clockwise from outside."""
  theta = np.linspace(0, np.pi, rows)
  phi = np.arange(columns) * 2 * np.pi / columns
  t, p = np.meshgrid(theta, phi, indexing="ij")
  vertices = np.stack(
    [np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], -1
  ).reshape(-1, 3)
  at = np.arange(rows * columns).reshape(rows, columns)
  a, b = at[:-1], np.roll(at[:-1], -1, 1)
  c, d = at[1:], np.roll(at[1:], -1, 1)
  triangles = np.concatenate(
    [np.stack([a, c, b], -1), np.stack([b, c, d], -1)]
  ).reshape(-1, 3)
  return ((radius * vertices).astype(np.float32), triangles.astype(np.int32))


def random_triangles(seed, *, count=60, spread=1.0):
  """Small, medium and huge triangles, some off screen, some degenerate."""
  rng = np.random.default_rng(seed)
  center = rng.uniform(-10, [WIDTH + 10, HEIGHT + 10], (count, 1, 2))
  size = np.exp(rng.uniform(np.log(0.3), np.log(150), (count, 1, 1)))
  xy = center + spread * size * rng.normal(size=(count, 3, 2))
  z = rng.normal(size=(count, 3, 1)) * 20 - np.sqrt(size)
  points = np.concatenate([xy, z], -1).reshape(-1, 3).astype(np.float32)
  triangles = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
  triangles[0, 2] = triangles[0, 1]
  points[triangles[1]] = points[triangles[1, 0]]
  triangles[2] = triangles[5]
  points[triangles[3, 1], 0] = np.nan
  return points, triangles


def draw_by_loop(points, triangles):
  """Every triangle at every pixel, in float64; and which are borderline."""
  points = points.astype(np.float64)
  depth = np.full((HEIGHT, WIDTH), -np.inf)
  index = np.full((HEIGHT, WIDTH), -1)
  unsure = np.zeros((HEIGHT, WIDTH), bool)
  y, x = np.mgrid[:HEIGHT, :WIDTH]
  for number, (a, b, c) in enumerate(points[triangles]):
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if not np.isfinite([a, b, c]).all() or area == 0:
      continue
    u = (b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)
    v = (c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)
    weights = np.stack([u, v, area - u - v], -1) / area
    z = weights @ [a[2], b[2], c[2]]
    least = weights.min(-1)
    unsure |= (abs(least) < 1e-4) & (z > depth - 1)
    unsure |= (least >= 0) & (0 < abs(z - depth)) & (abs(z - depth) < 1e-3)
    nearer = (least >= 0) & (z >= depth)
    depth, index = np.where(nearer, z, depth), np.where(nearer, number, index)
  return depth, index, unsure


@functools.partial(jax.jit, static_argnames="cull_back_faces")
def _draw_padded(points, triangles, cull_back_faces):
  return rasterizer.rasterize(
    points,
    triangles,
    height=HEIGHT,
    width=WIDTH,
    cull_back_faces=cull_back_faces,
  )


def draw(points, triangles, *, cull_back_faces=False):
  """The rasteriser, compiled once for every test's sizes."""
  padded = np.zeros((MOST, 3), np.int32)
  padded[: len(triangles)] = triangles
  vertices = np.zeros((3 * MOST, 3), np.float32)
  vertices[: len(points)] = points
  return _draw_padded(vertices, padded, cull_back_faces)


@jax.jit
def draw_scene(vertices, triangles, camera):
  """Renders one mesh; its image and its visible vertices."""
  seen = rendering.render(
    vertices[None], triangles, camera, height=HEIGHT, width=WIDTH
  )
  visible = rendering.vertex_visibility(
    seen.depth, vertices[None], triangles, camera
  )
  return seen, visible[0]


class RasterizeTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, 60, 1.0), (1, 60, 1.0), (2, 400, 1.0), (3, 400, 0.3), (4, 400, 0.02)
  )
  def test_equals_every_triangle_at_every_pixel(self, seed, count, spread):
    points, triangles = random_triangles(seed, count=count, spread=spread)
    depth, index, unsure = draw_by_loop(points, triangles)
    seen = draw(points, triangles)
    self.assertLess(unsure.mean(), 0.05)
    self.assertGreater((index >= 0).mean(), 0.05)
    sure = ~unsure
    np.testing.assert_array_equal(seen.triangle_index[sure], index[sure])
    np.testing.assert_allclose(seen.depth[sure], depth[sure], atol=2e-2)

  def test_ties_go_to_the_greatest_index(self):
    points = np.array([[-5, -5, 1], [90, -5, 1], [-5, 99, 1]])
    seen = draw(points, np.tile([[0, 1, 2]], (5, 1)))
    np.testing.assert_array_equal(seen.triangle_index, 4)

  def test_every_covered_pixel_has_a_triangle_and_its_barycentrics(self):
    points, triangles = random_triangles(11, count=300)
    seen = draw(points, triangles)
    covered = np.asarray(seen.triangle_index) >= 0
    np.testing.assert_array_equal(np.isfinite(seen.depth), covered)
    np.testing.assert_allclose(
      seen.barycentrics.sum(-1), covered.astype(np.float32), atol=1e-5
    )
    self.assertGreaterEqual(float(seen.barycentrics.min()), 0)
    corners = triangles[np.asarray(seen.triangle_index)]
    at = np.einsum("hwk,hwkc->hwc", seen.barycentrics, points[corners])
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    wanted = np.stack([x, y, seen.depth], -1)
    np.testing.assert_allclose(at[covered], wanted[covered], atol=1e-2)

  def test_no_crack_between_triangles_of_a_fan(self):
    # Seventy triangles around one point exactly on a pixel's centre.
    angle = np.linspace(0, 2 * np.pi, 71)[:-1]
    ring = np.stack([np.cos(angle), np.sin(angle)], -1) * 90 + [16, 20]
    points = np.concatenate([[[16, 20, 0]], np.c_[ring, np.ones(70)]])
    rim = np.arange(70)
    triangles = np.stack([0 * rim, rim + 1, (rim + 1) % 70 + 1], -1)
    seen = draw(points, triangles)
    self.assertGreaterEqual(int(seen.triangle_index.min()), 0)

  def test_blocks_of_triangles_draw_what_one_block_draws(self):
    points, triangles = random_triangles(3, count=400)
    whole = draw(points, triangles)
    with mock.patch.object(rasterizer, "_MOST_PAIRS", 70 * HEIGHT * WIDTH):
      parts = rasterizer.rasterize(
        jnp.asarray(points), jnp.asarray(triangles), height=HEIGHT, width=WIDTH
      )
    np.testing.assert_array_equal(parts.triangle_index, whole.triangle_index)
    np.testing.assert_allclose(parts.depth, whole.depth, rtol=1e-5)

  def test_culling_leaves_only_counter_clockwise_triangles(self):
    points = np.array([[2.0, 2, 0], [2, 20, 0], [20, 2, 0]])
    front = draw(points, [[0, 1, 2]], cull_back_faces=True)
    back = draw(points, [[0, 2, 1]], cull_back_faces=True)
    self.assertEqual(int(front.triangle_index[5, 5]), 0)
    self.assertEqual(int(back.triangle_index.max()), -1)

  def test_nothing_to_draw(self):
    seen = rasterizer.rasterize(
      jnp.zeros((3, 3)), jnp.zeros((0, 3), jnp.int32), height=4, width=5
    )
    self.assertTrue(bool((seen.depth == -jnp.inf).all()))
    self.assertEqual(seen.barycentrics.shape, (4, 5, 3))

  def test_mapping_on_cpu_equals_vmap(self):
    points = np.stack([random_triangles(s)[0] for s in (4, 5, 6)])
    triangles = jnp.asarray(random_triangles(4)[1])

    def one(points):
      return rasterizer.rasterize(points, triangles, height=HEIGHT, width=WIDTH)

    mapped = jax.jit(lambda p: rasterizer.map_images(one, p))(points)
    at_once = jax.jit(jax.vmap(one))(points)
    np.testing.assert_array_equal(mapped.triangle_index, at_once.triangle_index)
    np.testing.assert_allclose(mapped.depth, at_once.depth, atol=1e-4)


class RenderTest(parameterized.TestCase):
  def test_depth_of_a_sphere(self):
    vertices, triangles = sphere()
    center = (16.0, 20.0)
    seen, _ = draw_scene(
      vertices, triangles, still_camera(scale=1.5, translation=center)
    )
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(x - center[0], y - center[1]) / 1.5
    covered = np.asarray(seen.triangle_index[0] >= 0)
    np.testing.assert_array_equal(covered[distance < 9.9], True)
    np.testing.assert_array_equal(covered[distance > 10.0], False)
    core = distance < 9
    np.testing.assert_allclose(
      seen.depth[0][core], np.sqrt(100 - distance[core] ** 2), atol=0.1
    )

  def test_normals_of_a_sphere_point_outwards(self):
    vertices, triangles = sphere()
    normals = shading.vertex_normals(
      jnp.asarray(vertices)[None], jnp.asarray(triangles)
    )[0]
    np.testing.assert_allclose(normals, vertices / 10, atol=0.06)

  def test_a_seen_vertex_is_on_the_front_half(self):
    vertices, triangles = sphere()
    camera = still_camera(scale=1.5, translation=(16.0, 20.0))
    _, visible = draw_scene(vertices, triangles, camera)
    np.testing.assert_array_equal(visible[vertices[:, 2] > 0.8], True)
    np.testing.assert_array_equal(visible[vertices[:, 2] < -0.8], False)

  def test_a_small_sphere_before_a_large_one_hides_its_middle(self):
    vertices, triangles = sphere()
    both = np.concatenate([vertices, vertices * 0.5 + [0, 0, 30]])
    faces = np.concatenate([triangles, triangles + len(vertices)])
    camera = still_camera(scale=1.5, translation=(16.0, 20.0))
    _, visible = draw_scene(both.astype(np.float32), faces, camera)
    visible = visible[: len(vertices)]
    radius = np.hypot(vertices[:, 0], vertices[:, 1])
    front = vertices[:, 2] > 0.8
    np.testing.assert_array_equal(visible[front & (radius < 3.8)], False)
    np.testing.assert_array_equal(visible[front & (radius > 6.2)], True)

  def test_a_vertex_outside_the_image_is_not_seen(self):
    vertices, triangles = sphere()
    camera = still_camera(scale=1.5, translation=(0.0, 20.0))
    _, visible = draw_scene(vertices, triangles, camera)
    np.testing.assert_array_equal(visible[vertices[:, 0] < -0.4], False)
    self.assertTrue(bool(visible[(vertices[:, 0] > 1)].any()))

  def test_eager_jit_and_vmap_agree(self):
    vertices, triangles = sphere(20, 30)
    batch = jnp.asarray(vertices)[None] * jnp.asarray([1.0, 0.5, 1.3]).reshape(
      3, 1, 1
    )
    camera = still_camera(batch=3, scale=1.2, translation=(16.0, 20.0))
    turn = jnp.asarray([0.1, -0.5, 1.0])
    camera = camera.replace(rotation=rotation_from_euler(turn, turn, turn))

    def draw(batch, camera):
      return rendering.render(
        batch, jnp.asarray(triangles), camera, height=HEIGHT, width=WIDTH
      )

    eager = draw(batch, camera)
    jitted = jax.jit(draw)(batch, camera)
    single = jax.jit(
      jax.vmap(
        lambda v, c: jax.tree.map(
          lambda a: a[0], draw(v[None], jax.tree.map(lambda a: a[None], c))
        )
      )
    )(batch, camera)
    for other in (jitted, single):
      np.testing.assert_array_equal(other.triangle_index, eager.triangle_index)
      np.testing.assert_allclose(other.image, eager.image, atol=2e-5)
      np.testing.assert_allclose(other.depth, eager.depth, atol=2e-5)

  def test_background_colors_and_back_faces(self):
    # The second triangle of the batch is seen from behind.
    corners = jnp.asarray([[4.0, -4, 0], [4, -20, 0], [20, -4, 0]])
    seen = rendering.render(
      jnp.stack([corners, corners[jnp.asarray([0, 2, 1])]]),
      jnp.asarray([[0, 1, 2]]),
      still_camera(2),
      height=24,
      width=24,
      colors=jnp.tile(jnp.asarray([0.2, 0.4, 0.6]).reshape(1, 1, 3), (2, 3, 1)),
      lighting=shading.ambient_light(jnp.ones((2, 3))),
      background=jnp.full((2, 24, 24, 3), 0.9),
    )
    np.testing.assert_allclose(seen.image[0, 6, 6], [0.2, 0.4, 0.6], 1e-5)
    np.testing.assert_allclose(seen.image[:, 22, 22], 0.9, 1e-6)
    np.testing.assert_allclose(
      seen.image[1, 6, 6], np.array([0.2, 0.4, 0.6]) * 0.45, 1e-5
    )

  def test_camera_is_that_of_project(self):
    # The corner of a right-angled triangle lands where project puts it.
    vertices = np.zeros((len(sphere()[0]), 3), np.float32)
    vertices[:3] = [[0, 0, 0], [6, 0, 0], [0, 6, 0]]
    triangles = np.zeros_like(sphere()[1])
    triangles[0] = [0, 1, 2]
    seen, _ = draw_scene(
      vertices, triangles, still_camera(scale=2.0, translation=(10.0, 25.0))
    )
    rows, columns = np.nonzero(np.asarray(seen.triangle_index[0]) == 0)
    self.assertEqual((columns.min(), columns.max()), (10, 22))
    self.assertEqual((rows.min(), rows.max()), (13, 25))


class LightTest(parameterized.TestCase):
  def test_ambient_light_is_its_colour_everywhere(self):
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = shading.ambient_light(jnp.asarray([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(
      shading.irradiance(jnp.asarray(normals, jnp.float32), light),
      np.tile([0.1, 0.5, 0.9], (50, 1)),
      rtol=1e-5,
    )

  def test_directional_light_approximates_the_cosine(self):
    # Degree 2 keeps the clamped cosine to 3/32 (Ramamoorthi 2001).
    rng = np.random.default_rng(1)
    normals = rng.normal(size=(500, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    direction = np.array([1.0, 2.0, -0.5])
    direction /= np.linalg.norm(direction)
    light = shading.directional_light(
      jnp.asarray(3 * direction, jnp.float32), jnp.ones(3)
    )
    got = shading.irradiance(jnp.asarray(normals, jnp.float32), light)[:, 0]
    np.testing.assert_allclose(
      got, np.maximum(normals @ direction, 0), atol=3 / 32 + 1e-3
    )


class ErrorsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("vertices", {"vertices": jnp.zeros((4, 3))}, ValueError, "vertices"),
    (
      "triangles",
      {"triangles": jnp.zeros((1, 3))},
      TypeError,
      "triangles: expected a integer",
    ),
    ("height", {"height": 0}, ValueError, "height, width"),
    ("camera", {"camera": still_camera(2)}, ValueError, "camera.scale"),
    ("colors", {"colors": jnp.zeros((1, 4, 3))}, ValueError, "colors"),
    ("lighting", {"lighting": jnp.zeros((1, 4, 3))}, ValueError, "lighting"),
    (
      "background",
      {"background": jnp.zeros((1, 4, 3, 3))},
      ValueError,
      "background",
    ),
  )
  def test_render_names_what_is_wrong(self, change, error, message):
    arguments = {
      "vertices": jnp.zeros((1, 3, 3)),
      "triangles": jnp.zeros((1, 3), jnp.int32),
      "camera": still_camera(),
      "height": 8,
      "width": 8,
    } | change
    vertices, triangles, camera = (
      arguments.pop(name) for name in ("vertices", "triangles", "camera")
    )
    with self.assertRaisesRegex(error, message):
      rendering.render(vertices, triangles, camera, **arguments)


if __name__ == "__main__":
  absltest.main()
