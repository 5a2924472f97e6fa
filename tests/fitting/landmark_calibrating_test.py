"""Offsets and noise of landmarks, against the truth of synthetic faces."""

import dataclasses
import functools

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.fitting.batched_fitting import fit_model
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.fitting.integrated_faces import integrate_faces
from disentangle3d.fitting.landmark_noise import estimate_noise
from disentangle3d.fitting.landmark_offsets import estimate_offsets
from disentangle3d.fitting.linear_faces import (
  CAMERA_VARIANCE,
  PhotographedFaces,
  linearise,
  moved_cameras,
  sliding_points,
)
from disentangle3d.fitting.options import CalibrationOptions
from disentangle3d.fitting.resting_faces import faces_at_rest
from disentangle3d.geometry import rotation_from_euler
from disentangle3d.types import LANDMARK_MIRROR

_FLIP = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_MIRROR = np.array([-1.0, 1.0, 1.0])
_MIRROR_COVARIANCE = np.array([[1.0, -1.0], [-1.0, 1.0]])
_EDGES_DEG = (15.0,)
_OPTIONS = CalibrationOptions(
  rounds=3, noise_rounds=6, yaw_edges_deg=_EDGES_DEG
)
_OWN = np.arange(68)


def _symmetric(points):
  return (points + points[LANDMARK_MIRROR] * _MIRROR) / 2


def _without_gauge(offset, mean):
  """Takes off what no photograph shows: affine maps of y and z, and scale."""
  x, y, z = (mean - mean.mean(0)).T
  none, one = np.zeros(68), np.ones(68)
  maps = [
    *((x, y, z), (none, one, none), (none, none, one)),
    *((none, none, z), (none, none, y), (none, z, none)),
  ]
  basis = np.stack([np.stack(one, 1).ravel() for one in maps], 1)
  flat = offset.ravel()
  kept = flat - basis @ np.linalg.lstsq(basis, flat, rcond=None)[0]
  return kept.reshape(68, 3)


@dataclasses.dataclass(frozen=True)
class _World:
  model: object
  faces: PhotographedFaces
  offset: np.ndarray
  covariance: np.ndarray


@functools.cache
def _world(people=150, photos=3) -> _World:
  """Faces of an ellipsoid's points, with known offsets and noise."""
  rng = np.random.default_rng(0)
  direction = rng.normal(size=(68, 3))
  direction /= np.linalg.norm(direction, axis=1, keepdims=True)
  mean = _symmetric(direction * [70, 95, 80] + [0, 0, 30])
  model = MorphableModel(
    mean_shape=mean.astype(np.float32),
    identity_basis=(1.5 * rng.normal(size=(68, 3, 6))).astype(np.float32),
    expression_basis=rng.normal(size=(68, 3, 3)).astype(np.float32),
    triangles=np.zeros((0, 3), np.int32),
    landmark_vertices=_OWN.astype(np.int32),
  )
  offset = _without_gauge(
    _symmetric(rng.normal(size=(68, 3)) * [4, 4, 2]), mean
  )
  root = 0.4 * rng.normal(size=(2, 68, 2, 2)) + np.eye(2)
  covariance = root @ root.swapaxes(-1, -2)
  covariance[0] += covariance[0][LANDMARK_MIRROR] * _MIRROR_COVARIANCE
  subjects = np.repeat(np.arange(people), photos)
  count = len(subjects)
  yaw = np.deg2rad(rng.uniform(-40, 40, count))
  roll = rng.normal(0, 0.15, count)
  rotation = np.asarray(
    rotation_from_euler(yaw, rng.normal(0, 0.1, count), roll), np.float64
  )
  shapes = (
    (mean + offset)
    + np.einsum(
      "lci,ni->nlc",
      model.identity_basis,
      rng.normal(size=(people, 6))[subjects],
    )
    + np.einsum(
      "lce,ne->nlc", model.expression_basis, rng.normal(size=(count, 3))
    )
  )
  place = (np.abs(yaw) > np.deg2rad(_EDGES_DEG[0])).astype(int)
  root = np.linalg.cholesky(covariance)[place]
  noise = np.einsum("nlab,nlb->nla", root, rng.normal(size=(count, 68, 2)))
  mirrored = noise[:, LANDMARK_MIRROR] * [-1, 1]
  noise = np.where((yaw < 0)[:, None, None], mirrored, noise)
  cos, sin = np.cos(roll), np.sin(roll)
  turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
  seen = shapes @ (_FLIP @ rotation).swapaxes(1, 2)
  scale = rng.uniform(0.5, 0.7, count)
  landmarks = 50 + scale[:, None, None] * (seen + noise @ turn.swapaxes(1, 2))
  small = fit_model(model, moving_contour=False)
  return _World(small, _started(small, landmarks, subjects), offset, covariance)


def _started(model, landmarks, subjects):
  """Cameras of the mean face, nothing else known."""
  count = len(landmarks)
  mean = np.broadcast_to(model.model.mean_shape[:68], (count, 68, 3))
  camera = estimate_camera(
    jnp.asarray(mean),
    jnp.asarray(landmarks, jnp.float32),
    jnp.ones((count, 68)),
  )
  return PhotographedFaces(
    landmarks=landmarks,
    visible=np.ones((count, 68), bool),
    subjects=subjects,
    scale=np.asarray(camera.scale, np.float64),
    rotation=np.asarray(camera.rotation, np.float64),
    translation=np.asarray(camera.translation, np.float64),
    identity=np.zeros((count, 6)),
    expression=np.zeros((count, 3)),
    trusted=np.ones(count, bool),
  )


@functools.cache
def _offsets():
  world = _world()
  return estimate_offsets(world.model, world.faces, options=_OPTIONS)


def _rms(error):
  return np.sqrt(np.mean(np.square(error)))


class LandmarkOffsetsTest(absltest.TestCase):
  def test_offsets_are_recovered(self):
    world, found = _world(), _offsets()
    error = found.offset_mm - world.offset
    self.assertGreater(_rms(world.offset), 2.0)
    # The spread of 150 people's faces over the root of their number.
    self.assertLess(_rms(error[:, :2]), 0.25)
    self.assertLess(_rms(error[:, 2]), 0.45)
    self.assertLess(np.mean(found.after_mm), 0.6 * np.mean(found.before_mm))

  def test_offsets_are_their_own_mirror_image(self):
    offset = _offsets().offset_mm
    np.testing.assert_allclose(
      offset[LANDMARK_MIRROR] * _MIRROR, offset, atol=1e-5
    )

  def test_what_no_photo_shows_stays_nothing(self):
    mean = np.asarray(_world().model.model.mean_shape, np.float64)
    offset = _offsets().offset_mm
    np.testing.assert_allclose(_without_gauge(offset, mean), offset, atol=1e-4)

  def test_shuffled_landmarks_in_every_fifth_photo_hardly_matter(self):
    world = _world()
    rng = np.random.default_rng(1)
    landmarks = world.faces.landmarks.copy()
    for photo in range(0, len(landmarks), 5):
      landmarks[photo] = rng.permutation(landmarks[photo])
    faces = _started(world.model, landmarks, world.faces.subjects)
    found = estimate_offsets(world.model, faces, options=_OPTIONS)
    self.assertFalse(found.faces.trusted[::5].any())
    self.assertGreater(found.faces.trusted.mean(), 0.75)
    self.assertLess(_rms(found.offset_mm - _offsets().offset_mm), 0.2)

  def test_the_same_photos_give_the_same_offsets(self):
    world = _world()
    few = world.faces.chosen(np.arange(60))
    options = dataclasses.replace(_OPTIONS, rounds=1)
    one, other = (
      estimate_offsets(world.model, few, options=options).offset_mm
      for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


class LandmarkNoiseTest(absltest.TestCase):
  def test_covariances_are_recovered(self):
    world = _world()
    found = estimate_noise(
      world.model, _offsets().faces, _offsets().offset_mm, options=_OPTIONS
    )
    np.testing.assert_allclose(found.yaw_edges_rad, np.deg2rad(_EDGES_DEG))
    wrong = np.linalg.norm(
      found.covariance_mm2 - world.covariance, axis=(2, 3)
    ) / np.linalg.norm(world.covariance, axis=(2, 3))
    # A single covariance has a sampling error of 8 to 10 % of its own.
    self.assertLess(np.median(wrong), 0.15)
    total = np.trace(found.covariance_mm2, axis1=2, axis2=3)
    true = np.trace(world.covariance, axis1=2, axis2=3)
    np.testing.assert_allclose((total / true).mean(1), 1.0, atol=0.05)

  def test_ranges_with_few_photos_are_part_of_the_one_before(self):
    world = _world()
    options = CalibrationOptions(
      yaw_edges_deg=(15.0, 30.0, 75.0), least_photos=30
    )
    found = estimate_noise(
      world.model, world.faces, world.offset, options=options
    )
    np.testing.assert_allclose(found.yaw_edges_rad, np.deg2rad([15.0, 30.0]))


class IntegratedFacesTest(absltest.TestCase):
  def test_blocks_and_forces_are_those_of_the_whole_covariance(self):
    world = _world()
    faces = world.faces.chosen(np.arange(3))
    noise = np.tile(world.covariance[0], (3, 1, 1, 1))
    points = np.tile(_OWN, (3, 1))
    used = np.ones((3, 68), bool)
    found = integrate_faces(
      world.model, faces, points, world.offset, noise, used, faces.subjects
    )
    linear = linearise(world.model, faces, points, world.offset)
    shared = linear.identity.reshape(3 * 136, -1)
    whole = shared @ shared.T
    for photo in range(3):
      here = slice(136 * photo, 136 * (photo + 1))
      expression, camera = linear.expression[photo], linear.camera[photo]
      whole[here, here] += expression @ expression.T
      whole[here, here] += (camera * CAMERA_VARIANCE) @ camera.T
      for mark in range(68):
        block = slice(136 * photo + 2 * mark, 136 * photo + 2 * mark + 2)
        whole[block, block] += world.covariance[0][mark]
    inverse = np.linalg.inv(whole)
    away = linear.observed - (
      world.offset @ linear.axes.swapaxes(1, 2)
    ).reshape(3, -1)
    np.testing.assert_allclose(
      found.force.ravel(), inverse @ away.ravel(), atol=1e-6
    )
    blocks = inverse.reshape(3 * 68, 2, 3 * 68, 2)
    blocks = blocks[np.arange(204), :, np.arange(204)].reshape(3, 68, 2, 2)
    np.testing.assert_allclose(found.precision, blocks, atol=1e-6)

  def test_cameras_move_as_their_derivatives_say(self):
    world = _world()
    faces = world.faces.chosen(np.arange(4))
    points = np.tile(_OWN, (4, 1))
    linear = linearise(world.model, faces, points, world.offset)
    delta = 1e-5 * np.random.default_rng(0).normal(size=(4, 6))
    moved = dataclasses.replace(faces, **moved_cameras(faces, linear, delta))
    change = _projected(world, moved) - _projected(world, faces)
    # Into millimetres of an upright face.
    change = change @ linear.roll[:, :2, :2].swapaxes(1, 2)
    change = change / faces.scale[:, None, None]
    expected = np.einsum("nki,ni->nk", linear.camera, delta)
    np.testing.assert_allclose(
      change.reshape(4, -1), expected, atol=1e-3 * np.abs(expected).max()
    )


def _projected(world, faces):
  mean = np.asarray(world.model.model.mean_shape, np.float64) + world.offset
  axes = faces.scale[:, None, None] * (_FLIP @ faces.rotation)
  return mean @ axes.swapaxes(1, 2) + faces.translation[:, None]


class SlidingPointsTest(absltest.TestCase):
  def test_the_side_turned_away_is_marked_where_it_ends(self):
    whole = procedural_face_model(
      num_vertices=1000, identity_dim=2, expression_dim=1
    )
    model = fit_model(whole, moving_contour=True)
    mean = np.asarray(model.model.mean_shape, np.float64)
    yaw = np.deg2rad([0.0, 14.0, 45.0, -45.0])
    rotation = rotation_from_euler(yaw, 0 * yaw, 0 * yaw)
    faces = PhotographedFaces(
      landmarks=np.zeros((4, 68, 2)),
      visible=np.ones((4, 68), bool),
      subjects=np.arange(4),
      scale=np.ones(4),
      rotation=np.asarray(rotation, np.float64),
      translation=np.zeros((4, 2)),
      identity=np.zeros((4, 2)),
      expression=np.zeros((4, 1)),
      trusted=np.ones(4, bool),
    )
    offset = np.zeros((68, 3))
    offset[:, 2] = 5
    found = sliding_points(model, faces, offset)
    np.testing.assert_array_equal(found[:2], [_OWN, _OWN])
    np.testing.assert_array_equal(found[:, 17:], np.tile(_OWN[17:], (4, 1)))
    for photo, sign in ((2, 1), (3, -1)):
      seen = sign * (mean + offset[0]) @ faces.rotation[photo, 0]
      away = sign * mean[:17, 0] > 0
      self.assertBetween(away.sum(), 8, 9)
      np.testing.assert_array_equal(
        found[photo, :17][~away], np.flatnonzero(~away)
      )
      np.testing.assert_allclose(
        seen[found[photo, :17]][away],
        seen[model.contour].max(1)[away],
        atol=1e-6,
      )
      self.assertGreater(np.max(seen[found[photo, :17]] - seen[:17]), 2.0)


class FacesAtRestTest(absltest.TestCase):
  def test_of_each_person_the_narrowest_mouth_is_at_rest(self):
    world = _world()
    basis = np.zeros((68, 3, 3), np.float32)
    # The first mode draws the corners of the mouth apart.
    basis[[48, 54], 0, 0] = [-1, 1]
    mean = np.array(world.model.model.mean_shape)
    mean[[48, 54]], mean[[36, 45]] = (
      [[-25, 0, 0], [25, 0, 0]],
      [[-45, 50, 0], [45, 50, 0]],
    )
    model = dataclasses.replace(
      world.model,
      model=dataclasses.replace(
        world.model.model, mean_shape=mean, expression_basis=basis
      ),
    )
    faces = world.faces.chosen(np.arange(6))
    expression = np.zeros((6, 3))
    expression[:, 0] = [3, 0, 5, 9, 8, 7]
    rotation = np.tile(np.eye(3), (6, 1, 1))
    faces = dataclasses.replace(faces, expression=expression, rotation=rotation)
    found = faces_at_rest(model, faces)
    np.testing.assert_array_equal(found, [0, 1, 0, 0, 0, 1])


if __name__ == "__main__":
  absltest.main()
