"""Faces followed over frames, and smoothed without mixing people."""

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np

from disentangle3d.geometry import Camera, rotation_from_euler
from experiments.photographs.shapes import Codes
from experiments.photographs.sightings import track_faces
from experiments.photographs.smoothing import smooth_over_time, smooth_tracks


def follow(names, *seen):
  """Tracks of faces given as (photo, box), by photo."""
  boxes = [box and np.array(box, np.float32) for _, box in seen]
  return track_faces(names, [index for index, _ in seen], boxes)


def square(x, y=0.0, side=40.0):
  return (x, y, x + side, y + side)


def frames(count, name="film.mp4"):
  return [f"{name}::{n}" for n in range(count)]


class TrackTest(absltest.TestCase):
  def test_two_people_keep_their_tracks_though_their_order_changes(self):
    # One walks right, one left, three rows of pixels apart; the larger comes
    # first, and that is now one and now the other.
    seen, people = [], []
    for index in range(20):
      boxes = [square(5 * index, 0), square(100 - 5 * index, 50)]
      order = (0, 1) if index % 3 else (1, 0)
      for person in order:
        if person == 1 and index in (6, 7):
          continue
        seen.append((index, boxes[person]))
        people.append(person)
    tracks = follow(frames(20), *seen)
    people = np.array(people)
    self.assertEqual(set(tracks), {0, 1})
    for person in (0, 1):
      self.assertLen(set(tracks[people == person]), 1)

  def test_the_box_that_overlaps_most_goes_on(self):
    seen = [(0, square(0)), (1, square(12)), (1, square(4))]
    np.testing.assert_array_equal(follow(frames(2), *seen), [0, 1, 0])

  def test_a_jump_a_long_absence_and_another_film_begin_a_track(self):
    box = square(0)
    jump = [(0, box), (1, square(30))]
    np.testing.assert_array_equal(follow(frames(2), *jump), [0, 1])
    away = [(0, box), (10, box), (21, box)]
    np.testing.assert_array_equal(follow(frames(22), *away), [0, 0, 1])
    names = [
      *frames(1),
      *frames(1, "other.mp4"),
      "a/1.png",
      "a/2.png",
      "b/1.png",
    ]
    seen = [(n, box) for n in range(5)]
    np.testing.assert_array_equal(follow(names, *seen), [0, 1, 2, 2, 3])

  def test_crops_of_a_folder_are_one_track(self):
    seen = [(n, None) for n in range(3)]
    names = ["a/1.png", "a/2.png", "a/3.png"]
    np.testing.assert_array_equal(follow(names, *seen), [0, 0, 0])


def gaussian_by_hand(values, times, sigma):
  made = np.zeros_like(values)
  for row, time in enumerate(times):
    weights = [np.exp(-(((time - t) / sigma) ** 2) / 2) for t in times]
    made[row] = np.average(values, axis=0, weights=weights)
  return made


class SmoothTest(absltest.TestCase):
  def test_noise_goes_and_a_steady_turn_stays(self):
    rng = np.random.default_rng(0)
    times = np.arange(40.0)
    yaw = (0.01 * times).astype(np.float32)
    zero = np.zeros(40, np.float32)
    steady = rotation_from_euler(jnp.asarray(yaw), zero, zero)
    noise = (0.05 * rng.normal(size=(3, 40))).astype(np.float32)
    shaken = rotation_from_euler(*(jnp.asarray(n) for n in noise)) @ steady
    cameras = Camera(
      scale=np.exp(noise[0]),
      rotation=np.asarray(shaken),
      translation=np.stack([yaw, yaw], -1),
    )
    codes = Codes(rng.normal(size=(40, 3)), rng.normal(size=(40, 2)))
    known = np.ones(40, bool)
    known[7] = False
    cameras.scale[7] = 100
    smooth, made = smooth_over_time(codes, cameras, known, times, sigma=3.0)
    np.testing.assert_array_equal(smooth.identity, codes.identity)
    inner = slice(9, -9)
    self.assertLess(smooth.residual[inner].std(), 0.5 * codes.residual.std())
    far = np.linalg.norm(made.rotation - np.asarray(steady), axis=(1, 2))
    before = np.linalg.norm(np.asarray(shaken - steady), axis=(1, 2))
    self.assertLess(far[inner].mean(), 0.5 * before[inner].mean())
    np.testing.assert_allclose(
      np.linalg.det(made.rotation), np.ones(40), atol=1e-4
    )
    self.assertLess(np.abs(np.log(made.scale[inner])).max(), 0.06)
    np.testing.assert_allclose(
      made.translation[inner, 0], yaw[inner], atol=4e-3
    )

  def test_each_track_is_smoothed_by_itself(self):
    rng = np.random.default_rng(1)
    tracks = np.array([0, 1, 1, 0, 0, 1, 0, 1, 1, 0])
    times = np.array([0.0, 0, 1, 1, 2, 2, 4, 4, 5, 5])
    sign = (1 - 2 * tracks)[:, None]
    residual = sign + 0.1 * rng.normal(size=(10, 3))
    place = 100.0 * sign + rng.normal(size=(10, 2))
    yaw = (0.3 * sign[:, 0]).astype(np.float32)
    zero = np.zeros(10, np.float32)
    cameras = Camera(
      scale=np.exp(0.5 * sign[:, 0]).astype(np.float32),
      rotation=np.asarray(rotation_from_euler(jnp.asarray(yaw), zero, zero)),
      translation=place.astype(np.float32),
    )
    codes = Codes(rng.normal(size=(10, 4)), residual)
    made, smoothed = smooth_tracks(
      codes, cameras, np.ones(10, bool), times, tracks, sigma=1.5
    )
    for track in (0, 1):
      rows = tracks == track
      np.testing.assert_allclose(
        made.residual[rows],
        gaussian_by_hand(residual[rows], times[rows], 1.5),
        atol=1e-5,
      )
      np.testing.assert_allclose(
        smoothed.translation[rows],
        gaussian_by_hand(place[rows], times[rows], 1.5),
        atol=1e-3,
      )
    # What was steady stays as it was: nothing came from the other track.
    np.testing.assert_allclose(smoothed.scale, cameras.scale, rtol=1e-5)
    np.testing.assert_allclose(smoothed.rotation, cameras.rotation, atol=1e-5)
    np.testing.assert_array_equal(made.identity, codes.identity)


if __name__ == "__main__":
  absltest.main()
