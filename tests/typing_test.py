"""Holds the shapes in the annotations against real calls, by beartype.

In a process of its own: under the import hook a wrong shape never reaches the
checks that users see, so the other tests run without it.
"""

import subprocess
import sys

from absl.testing import absltest

from tests.fixtures import REPOSITORY

_HOOK = """
import jaxtyping
jaxtyping.install_import_hook("disentangle3d", "beartype.beartype")
import jax, jax.numpy as jnp, numpy as np
import disentangle3d as d3d
from tests.fixtures import random_morphable_model
"""

_CALLS = """
from disentangle3d import geometry
from disentangle3d.training import losses
model = random_morphable_model()
rng = np.random.default_rng(0)
coefficients = jnp.asarray(rng.normal(size=(2, 12)), jnp.float32)
shapes = d3d.synthesize_shape(model, coefficients, coefficients[:, :5])
yaw = jnp.asarray([0.3, -0.2])
camera = d3d.Camera(
    jnp.ones(2), geometry.rotation_from_euler(yaw, yaw, yaw), jnp.ones((2, 2)))
marks = jnp.take(shapes, model.landmark_vertices, axis=1)
landmarks = d3d.project(camera, marks)
d3d.estimate_camera(marks, landmarks, jnp.ones((2, 68)))
d3d.align_similarity(shapes, shapes + 1.0)
geometry.five_points(landmarks)
vertices = jnp.asarray(model.landmark_vertices)
d3d.evaluation.reconstruction.shape_error(
    shapes, shapes + 1.0, landmark_vertices=vertices)
scores = rng.normal(size=40)
d3d.evaluation.verification.verify(scores, np.arange(40) % 2 == 0, folds=2)
faces = d3d.FaceModel("tiny", 12, 5, 120)
params = d3d.init_params(jax.random.key(0), faces, model)
images = jnp.zeros((2, 112, 96, 3), jnp.uint8)
made = d3d.reconstruct(params, images, model=faces)
d3d.reconstruct(params, images[0], model=faces)
d3d.face_embedding(params, images, model=faces)
targets = losses.latent_targets(coefficients, coefficients[:, :5])
losses.latent_loss(made.latents, targets)
losses.shape_loss(made.shape, shapes)
print("every call fits its annotation", flush=True)
geometry.five_points(jnp.zeros((67, 2)))
"""


class TypingTest(absltest.TestCase):
  def test_calls_fit_the_annotations_and_a_wrong_shape_is_seen(self):
    run = subprocess.run(
      [sys.executable, "-c", _HOOK + _CALLS],
      cwd=REPOSITORY,
      env={"JAX_PLATFORMS": "cpu", "PATH": ""},
      capture_output=True,
      text=True,
      timeout=240,
    )
    self.assertIn("every call fits", run.stdout, run.stderr[-2000:])
    self.assertNotEqual(run.returncode, 0)
    self.assertIn("TypeCheckError", run.stderr)


if __name__ == "__main__":
  absltest.main()
