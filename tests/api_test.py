"""The public face of the package: names, signatures, and every transform.

`CASES` holds arguments, three of each stacked along the first axis, for every
public function that computes on arrays: eager, jitted and mapped calls must
agree.
"""

import functools
import importlib
import inspect
import pkgutil
import tomllib
import types

from absl.testing import absltest, parameterized
import jax
import numpy as np

import disentangle3d as d3d
from disentangle3d.geometry import rotation_from_euler
from tests.fixtures import REPOSITORY, random_morphable_model, run_program

MODEL = d3d.FaceModel("tiny", identity_dim=12, residual_dim=5, num_vertices=120)

# Read or write files, or build a model on the host.
HOST_FUNCTIONS = {
  "jaw_contour",
  "load_morphable_model",
  "load_network",
  "load_params",
  "procedural_face_model",
  "save_morphable_model",
  "synthetic_world",
  "write_mesh",
}

PUBLIC_NAMES = [
  "Camera",
  "FaceModel",
  "FitOptions",
  "FitResult",
  "Latents",
  "MorphableModel",
  "Network",
  "Reconstruction",
  "Rendering",
  "ShapeError",
  "SyntheticPhotos",
  "SyntheticWorld",
  "VerificationResult",
  "align_similarity",
  "cast_params",
  "decode",
  "encode",
  "estimate_camera",
  "evaluation",
  "face_embedding",
  "faces",
  "fit_landmarks",
  "fitting",
  "init_params",
  "jaw_contour",
  "load_morphable_model",
  "load_network",
  "load_params",
  "network",
  "prepare_params",
  "procedural_face_model",
  "project",
  "reconstruct",
  "render",
  "render_photos",
  "save_morphable_model",
  "synthesize_shape",
  "synthetic_world",
  "training",
  "transform_camera",
  "write_mesh",
]

# Long to compile, so done once, in the tests of their own modules.
CHECKED_ELSEWHERE = {
  "estimate_camera",  # fitting/camera_test.py
  "init_params",  # network/face_model_test.py
  "render",  # faces/rendering_test.py
  "render_photos",  # faces/synthetic_test.py
}

# What importing the package leaves to those who use it.
HEAVY = {
  *("array_record", "chex", "cv2", "grain", "igl", "matplotlib"),
  *("ml_collections", "orbax", "PIL", "tensorboardX", "tensorstore"),
  *("tqdm", "trimesh"),
}

# Checks a key instead of using it up.
KEY_ELSEWHERE = {"disentangle3d.types.check_key"}


def public_functions():
  """Every function of the package that is defined where it is found."""
  found = {}
  for info in pkgutil.walk_packages(d3d.__path__, "disentangle3d."):
    module = importlib.import_module(info.name)
    for name, function in vars(module).items():
      if (
        isinstance(function, types.FunctionType)
        and not name.startswith("_")
        and function.__module__ == info.name
      ):
        found[f"{info.name}.{name}"] = function
  return found


def random(*shape, seed=0, scale=1.0):
  rng = np.random.default_rng(seed)
  return (scale * rng.normal(size=(3, *shape))).astype(np.float32)


def cameras(*batch):
  angles = random(*batch, 3, seed=5, scale=0.3)
  rotation = rotation_from_euler(angles[..., 0], angles[..., 1], angles[..., 2])
  return d3d.Camera(
    scale=np.full(angles.shape[:-1], 0.5, np.float32),
    rotation=np.asarray(rotation),
    translation=random(*batch, 2, seed=6) + np.float32(50),
  )


@functools.cache
def network_params():
  params = d3d.init_params(jax.random.key(0), MODEL, random_morphable_model())
  return jax.device_get(params)


def stacked_params():
  return jax.tree.map(lambda leaf: np.stack([leaf] * 3), network_params())


def photos():
  return np.random.default_rng(0).integers(0, 256, (3, 112, 96, 3), np.uint8)


def landmarks_of(points, camera):
  return np.asarray(d3d.project(camera, points)) + random(68, 2, seed=9)


def face_call(name):
  return functools.partial(getattr(d3d, name), model=MODEL)


def fit(landmarks, visibility):
  return d3d.fit_landmarks(
    random_morphable_model(),
    landmarks[None, None],
    visibility[None, None],
    options=d3d.FitOptions(max_iterations=2, extrapolated_rounds=0),
  )


# name: (function of arrays, arguments stacked, absolute tolerance).
CASES = {
  "align_similarity": lambda: (
    d3d.align_similarity,
    (random(30, 3, scale=50), random(30, 3, seed=1, scale=50)),
    2e-3,
  ),
  "cast_params": lambda: (face_call("cast_params"), (stacked_params(),), 1e-5),
  "decode": lambda: (
    face_call("decode"),
    (stacked_params(), d3d.Latents(random(12), random(5))),
    1e-4,
  ),
  "encode": lambda: (face_call("encode"), (stacked_params(), photos()), 3e-5),
  "face_embedding": lambda: (
    face_call("face_embedding"),
    (stacked_params(), photos()),
    1e-4,
  ),
  "fit_landmarks": lambda: (
    fit,
    (
      landmarks_of(random(68, 3, scale=60), cameras()),
      np.ones((3, 68), np.float32),
    ),
    # Which of two nearly equal steps is taken may hang on the last bit.
    0.02,
  ),
  "prepare_params": lambda: (
    face_call("prepare_params"),
    (stacked_params(),),
    1e-5,
  ),
  "project": lambda: (d3d.project, (cameras(), random(9, 3, scale=60)), 1e-4),
  "reconstruct": lambda: (
    face_call("reconstruct"),
    (stacked_params(), photos()),
    1e-4,
  ),
  "synthesize_shape": lambda: (
    functools.partial(d3d.synthesize_shape, random_morphable_model()),
    (random(12), random(5)),
    1e-4,
  ),
  "transform_camera": lambda: (
    d3d.transform_camera,
    (
      cameras(),
      np.stack([[[0.0, -2.0, 3.0], [2.0, 0.0, 1.0]]] * 3).astype(np.float32),
    ),
    1e-4,
  ),
}


class SignatureTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (name, name, function) for name, function in public_functions().items()
  )
  def test_conventions(self, name, function):
    self.assertTrue(function.__doc__, "no docstring")
    parameters = list(inspect.signature(function).parameters.values())
    for place, parameter in enumerate(parameters):
      # An optional array or model may go without its name; a setting not.
      if parameter.default not in (inspect.Parameter.empty, None):
        self.assertEqual(
          parameter.kind, inspect.Parameter.KEYWORD_ONLY, parameter.name
        )
      self.assertNotIn(parameter.name, ("rng", "prng", "rng_key"))
      if parameter.name == "key" and name not in KEY_ELSEWHERE:
        self.assertEqual(place, 0, "the key comes first")

  def test_every_exported_name_exists_and_is_documented(self):
    self.assertEqual(list(d3d.__all__), PUBLIC_NAMES)
    self.assertEqual(PUBLIC_NAMES, sorted(set(PUBLIC_NAMES)))
    for name in PUBLIC_NAMES:
      self.assertTrue(getattr(d3d, name).__doc__, name)

  def test_what_is_in_the_package_is_exported_a_room_or_private(self):
    loaded = {
      name
      for name in vars(d3d)
      if not (name.startswith("_") or name in PUBLIC_NAMES)
    }
    rooms = {info.name for info in pkgutil.iter_modules(d3d.__path__)}
    self.assertEmpty(loaded - rooms)

  def test_the_version_stands_in_one_place(self):
    self.assertRegex(d3d.__version__, r"^\d+\.\d+\.\d+$")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    self.assertEqual(project["project"]["dynamic"], ["version"])
    self.assertEqual(
      project["tool"]["setuptools"]["dynamic"]["version"],
      {"attr": "disentangle3d.__version__"},
    )

  def test_measures_are_reached_through_evaluation(self):
    self.assertTrue(callable(d3d.evaluation.reconstruction.shape_error))
    self.assertTrue(callable(d3d.evaluation.verification.verify))


class ImportTest(absltest.TestCase):
  def test_it_is_quick_and_brings_nothing_heavy(self):
    program = (
      "import sys, time, disentangle3d;"
      "print(time.process_time(), *(m.split('.')[0] for m in sys.modules))"
    )
    run = run_program(program)
    self.assertEqual(run.returncode, 0, run.stderr)
    seconds, *modules = run.stdout.split()
    self.assertEmpty(HEAVY & set(modules))
    # Processor time, as other tests run beside; twice what it takes.
    self.assertLess(float(seconds), 2)


class StaticModelTest(absltest.TestCase):
  """`jax.jit(d3d.reconstruct, static_argnames="model")`, as README shows."""

  def test_each_function_of_a_network(self):
    calls = {
      "encode": photos(),
      "face_embedding": photos(),
      "reconstruct": photos(),
      "decode": d3d.Latents(random(12), random(5)),
    }
    for name, argument in calls.items():
      function = getattr(d3d, name)
      compiled = jax.jit(function, static_argnames="model")
      got = compiled.eval_shape(network_params(), argument, model=MODEL)
      expected = jax.eval_shape(
        functools.partial(function, model=MODEL), network_params(), argument
      )
      self.assertEqual(got, expected)

  def test_an_equal_model_is_the_same_program(self):
    compiled = jax.jit(d3d.decode, static_argnames="model")
    latents = d3d.Latents(random(12), random(5))
    got = compiled(network_params(), latents, model=MODEL)
    again = compiled(network_params(), latents, model=MODEL.clone())
    np.testing.assert_array_equal(got.shape, again.shape)
    expected = d3d.decode(network_params(), latents, model=MODEL)
    np.testing.assert_allclose(got.shape, expected.shape, atol=1e-4)
    self.assertEqual(compiled._cache_size(), 1)


class TransformTest(parameterized.TestCase):
  def test_every_exported_function_has_a_case(self):
    functions = {
      name
      for name in d3d.__all__
      if isinstance(getattr(d3d, name), types.FunctionType)
    }
    self.assertEqual(functions - HOST_FUNCTIONS - CHECKED_ELSEWHERE, set(CASES))

  @parameterized.parameters(*CASES)
  def test_eager_equals_jit_equals_vmap(self, name):
    function, arguments, tolerance = CASES[name]()
    rows = [
      jax.tree.map(lambda leaf, i=i: leaf[i], arguments) for i in range(2)
    ]
    eager = function(*rows[0])
    compiled = jax.jit(function)
    jitted, second = compiled(*rows[0]), compiled(*rows[1])
    mapped = jax.jit(jax.vmap(function))(*arguments)
    for expected, got in (
      (eager, jitted),
      (eager, jax.tree.map(lambda leaf: leaf[0], mapped)),
      (second, jax.tree.map(lambda leaf: leaf[1], mapped)),
    ):
      self.check_same(expected, got, tolerance)

  def check_same(self, expected, got, tolerance):
    self.assertEqual(jax.tree.structure(expected), jax.tree.structure(got))
    for one, two in zip(
      jax.tree.leaves(expected), jax.tree.leaves(got), strict=True
    ):
      self.assertEqual(one.dtype, two.dtype)
      np.testing.assert_allclose(one, two, atol=tolerance, rtol=tolerance)


if __name__ == "__main__":
  absltest.main()
