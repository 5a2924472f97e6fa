"""Crops of faces made into crops of other faces."""

import dataclasses

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from disentangle3d.crop_templates import TEMPLATES
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.geometry import (
  Camera,
  apply_affine,
  five_points,
  project,
  rotation_from_euler,
  similarity_2d,
)
from disentangle3d.training.resampling import bilinear
from disentangle3d.training.reshaping import (
  changed_coefficients,
  control_points,
  reshaped_crop,
)
from experiments.configs import default
from experiments.training.phases import phases_of

_MODEL = procedural_face_model(
  num_vertices=2_000, identity_dim=12, expression_dim=5
)
_POINTS = control_points(_MODEL)
_CAMERA = Camera(
  scale=jnp.float32(0.6),
  rotation=rotation_from_euler(jnp.float32(0.4), jnp.float32(0.1), 0.05),
  translation=jnp.asarray([48.0, 70.0]),
)
# Brows, eyes, nose and mouth: seen from the front, and in the crop.
_INNER = np.r_[17:68]


def _faces(seed):
  rng = np.random.default_rng(seed)
  return tuple(
    jnp.asarray(rng.normal(size=size), jnp.float32) for size in (12, 5)
  )


def _ramps():
  """A picture that says where each of its pixels is."""
  y, x = np.mgrid[:112, :96]
  return np.stack([2 * x, 2 * y, 0 * x], -1).astype(np.uint8)


class ReshapedCropTest(parameterized.TestCase):
  def test_the_same_face_is_the_same_crop(self):
    image = np.random.default_rng(0).integers(0, 256, (112, 96, 3), np.uint8)
    old = _faces(1)
    got = np.asarray(reshaped_crop(_POINTS, image, _CAMERA, old, old), int)
    # The outermost row and column lie a thousandth of a pixel outside.
    np.testing.assert_allclose(got, image, atol=1)

  @parameterized.parameters(*TEMPLATES)
  def test_landmarks_move_to_where_the_new_face_has_them(self, template):
    old, new = _faces(1), _faces(2)
    points = control_points(_MODEL, template=template)
    got = np.asarray(reshaped_crop(points, _ramps(), _CAMERA, old, new))
    before, after = (
      project(_CAMERA, _POINTS(*face))[:68] for face in (old, new)
    )
    onto = five_points if template == "sphereface" else jnp.asarray
    alignment = similarity_2d(onto(after), onto(before))
    aligned = np.asarray(apply_affine(alignment, after))
    before = np.asarray(before)
    found = np.stack(
      [
        scipy.ndimage.map_coordinates(
          got[..., channel] / 2, aligned[_INNER, ::-1].T, order=1
        )
        for channel in (0, 1)
      ],
      -1,
    )
    distance = np.linalg.norm(found - before[_INNER], axis=1)
    moved = np.linalg.norm(aligned - before, axis=1)[_INNER]
    self.assertGreater(np.median(moved), 1.0)
    # Neighbours that move otherwise smooth it.
    self.assertLess(np.median(distance), 0.5 * np.median(moved))

  def test_a_model_without_all_landmarks_is_refused(self):
    marks = np.array(_MODEL.landmark_vertices)
    marks[4] = -1
    with self.assertRaisesRegex(ValueError, "expected all 68 .*, got 67"):
      control_points(_MODEL.replace(landmark_vertices=marks))


class ChangedCoefficientsTest(absltest.TestCase):
  def test_they_stay_float32_under_x64(self):
    with jax.enable_x64(True):
      changed = changed_coefficients(
        jax.random.key(0), jnp.ones(4, jnp.float32), 0.5
      )
    self.assertEqual(changed.dtype, jnp.float32)

  def test_the_prior_stays_and_the_old_face_is_kept_in_part(self):
    keys = jax.random.split(jax.random.key(0), 20_000)
    old = jax.random.normal(jax.random.key(1), (20_000, 2))
    new = jax.vmap(lambda k, c: changed_coefficients(k, c, 0.6))(keys, old)
    np.testing.assert_allclose(np.std(new, 0), 1.0, atol=0.02)
    # The mean of sqrt(1 - u) for u uniform up to 0.6.
    wanted = 2 / 3 * (1 - 0.4**1.5) / 0.6
    np.testing.assert_allclose(np.mean(new * old, 0), wanted, atol=0.02)

  def test_people_who_are_told_apart_stay_themselves(self):
    config = default.get_config()
    config.augmentation.new_identity = 0.5
    config.augmentation.new_expression = 0.4
    first, _, *joint = phases_of(config)
    self.assertEqual(first.augmentation.new_identity, 0.5)
    for phase in joint:
      self.assertEqual(
        phase.augmentation,
        dataclasses.replace(first.augmentation, new_identity=0.0),
      )


class BilinearTest(absltest.TestCase):
  def test_agrees_with_scipy(self):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 13, 3), np.uint8)
    places = rng.uniform(-4, 16, (200, 2)).astype(np.float32)
    wanted = np.stack(
      [
        scipy.ndimage.map_coordinates(
          image[..., c].astype(np.float64),
          places[:, ::-1].T,
          order=1,
          mode="nearest",
        )
        for c in range(3)
      ],
      -1,
    )
    np.testing.assert_allclose(bilinear(image, places), wanted, atol=0.3)


if __name__ == "__main__":
  absltest.main()
