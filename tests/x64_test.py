"""Float32 in, float32 out, with `JAX_ENABLE_X64` as without."""

from collections.abc import Iterator
import functools
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

import disentangle3d as d3d
from tests import api_test
from tests.fixtures import REPOSITORY, random_morphable_model


def _points(*batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  points = rng.normal(size=(*batch, 68, 3)).astype(np.float32) * 60
  landmarks = 0.5 * points[..., :2] * [1, -1] + 50
  return points, landmarks.astype(np.float32), np.ones((*batch, 68), np.float32)


def _fit(robust: str):
  options = d3d.FitOptions(robust=robust, max_iterations=3)
  return functools.partial(
    d3d.fit_landmarks, random_morphable_model(), options=options
  )


def _camera():
  return jax.tree.map(lambda leaf: leaf[:1], api_test.cameras())


def _cases() -> dict[str, tuple[Any, tuple[Any, ...]]]:
  """Every exported function that computes on arrays, with arguments."""
  cases = {}
  for name, case in api_test.CASES.items():
    function, arguments, _ = case()
    first = jax.tree.map(lambda leaf: leaf[0], arguments)
    cases[name] = (function, first)
  model = random_morphable_model()
  world = d3d.synthetic_world(
    d3d.procedural_face_model(
      num_vertices=600, identity_dim=6, expression_dim=4
    ),
    photos_per_person=2,
  )
  _, landmarks, visibility = _points(2, 3)
  return cases | {
    "estimate_camera": (d3d.estimate_camera, _points(2)),
    "init_params": (
      lambda key: d3d.init_params(key, api_test.MODEL, model),
      (jax.random.key(0),),
    ),
    "fit_landmarks, robust": (_fit("huber"), (landmarks, visibility)),
    "render": (
      lambda vertices, camera: d3d.render(
        vertices, model.triangles, camera, height=20, width=30
      ),
      (model.mean_shape[None], _camera()),
    ),
    "render_photos": (
      functools.partial(d3d.render_photos, world),
      (np.uint32(0), np.arange(2, dtype=np.int32)),
    ),
  }


def _wide(jaxpr: Any) -> Iterator[Any]:
  """What a program computes in float64 (a literal adapts: it is weak)."""
  for equation in jaxpr.eqns:
    for out in equation.outvars:
      kind = getattr(out.aval, "dtype", None)
      if kind == np.float64 and not out.aval.weak_type:
        yield out.aval
    for value in jax.tree.leaves(list(equation.params.values())):
      inner = getattr(value, "jaxpr", value)
      if hasattr(inner, "eqns"):
        yield from _wide(inner)


class X64Test(parameterized.TestCase):
  def test_programs_of_float32_stay_in_float32(self):
    cases = _cases()
    self.assertEqual(
      {name.partition(",")[0] for name in cases},
      set(api_test.CASES) | api_test.CHECKED_ELSEWHERE,
    )
    with jax.enable_x64(True):
      for name, (function, arguments) in cases.items():
        with self.subTest(name):
          program = jax.make_jaxpr(function)(*arguments)
          self.assertEmpty(list(_wide(program.jaxpr)))
          kinds = {str(aval.dtype) for aval in program.out_avals}
          self.assertNoCommonElements(kinds, {"float64", "int64"})

  @pytest.mark.slow
  def test_every_exported_function_runs(self):
    for name, (function, arguments) in _cases().items():
      with self.subTest(name):
        narrow = jax.device_get(jax.jit(function)(*arguments))
        with jax.enable_x64(True):
          wide = jax.device_get(jax.jit(function)(*arguments))
        for one, other in zip(
          jax.tree.leaves(narrow), jax.tree.leaves(wide), strict=True
        ):
          self.assertEqual(one.dtype, other.dtype)
          np.testing.assert_allclose(one, other, rtol=0.02, atol=0.05)

  @pytest.mark.slow
  def test_training_has_the_same_losses(self):
    losses = [self._losses(setting) for setting in ("0", "1")]
    self.assertLen(losses[0], 10)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)

  def _losses(self, setting: str) -> list[float]:
    workdir = pathlib.Path(self.create_tempdir().full_path) / "run"
    run = subprocess.run(
      [sys.executable, "-m", "experiments.train", "--config"]
      + ["experiments/configs/smoke.py", f"--workdir={workdir}"],
      cwd=REPOSITORY,
      env=os.environ | {"JAX_ENABLE_X64": setting, "JAX_PLATFORMS": "cpu"},
      capture_output=True,
      text=True,
      check=True,
      timeout=280,
    )
    return [float(x) for x in re.findall(r" loss ([\d.e+-]+)", run.stderr)]


if __name__ == "__main__":
  absltest.main()
