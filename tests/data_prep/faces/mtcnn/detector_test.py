"""MTCNN against the package under TensorFlow (see make_reference.py)."""

import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import unittest

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from data_prep.faces.mtcnn.detector import (
  NUM_CANVASES,
  Detector,
  Faces,
  Settings,
  batch_size,
)
from data_prep.photos.photo_sets import read_photo
from tests.data_prep import orl_faces
from tests.fixtures import REPOSITORY

_REFERENCE = json.loads(
  pathlib.Path(__file__).with_name("reference.json").read_text()
)

# Traces the program of a small canvas, and does not run it.
_TRACED = """
import jax, numpy as np
from data_prep.faces.mtcnn.detector import Detector
detector = Detector(side=64, most_photos=1)
program = detector._programs
def trace(*arguments, **named):
  print(*(a.dtype for a in jax.eval_shape(program, *arguments, **named)))
  raise SystemExit
detector._programs = trace
detector.detect([np.zeros((64, 64, 3), np.uint8)])
"""


@functools.cache
def _detector(kind: str) -> Detector:
  """Loaded once; skips where the extra is not installed."""
  for name in ("mtcnn", "lz4"):
    if importlib.util.find_spec(name) is None:
      raise unittest.SkipTest(f"{name} is not installed (extra `detect`)")
  return Detector(_settings(kind))


def _settings(kind: str) -> Settings:
  return Settings(factor=_REFERENCE["settings"][kind]["scale_factor"])


def _astronaut() -> np.ndarray:
  import skimage

  return skimage.data.astronaut()


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
  sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
  shared = np.prod(np.maximum(sides, 0))
  areas = [np.prod(b[2:] - b[:2]) for b in (box, other)]
  return float(shared / (sum(areas) - shared))


class ReferenceTest(parameterized.TestCase):
  def _check(self, found: Faces, expected: list[dict], name: str) -> None:
    self.assertLen(found.boxes, len(expected), name)
    for box, points, score, face in zip(
      found.boxes,
      found.points,
      found.scores,
      sorted(expected, key=lambda face: -face["score"]),
      strict=True,
    ):
      self.assertGreaterEqual(_overlap(box, np.array(face["box"])), 0.95, name)
      apart = np.linalg.norm(points - np.array(face["points"]), axis=-1)
      self.assertLess(apart.max(), 1.0, name)
      self.assertAlmostEqual(score, face["score"], delta=0.01, msg=name)

  def test_the_astronaut_is_found_as_the_package_finds_her(self):
    (found,) = _detector("package").detect([_astronaut()])
    self._check(found, _REFERENCE["faces"]["package"]["astronaut"], "astronaut")

  @pytest.mark.slow
  def test_so_she_is_at_the_papers_factor(self):
    (found,) = _detector("paper").detect([_astronaut()])
    self._check(found, _REFERENCE["faces"]["paper"]["astronaut"], "astronaut")

  @parameterized.parameters("package", "paper")
  def test_orl_faces_are_found_as_the_package_finds_them(self, kind):
    folder = orl_faces.skip_unless_there(self)
    expected = dict(_REFERENCE["faces"][kind])
    del expected["astronaut"]
    self.assertLen(expected, 40)
    photos = [read_photo(folder / name) for name in expected]
    found = _detector(kind).detect(photos)
    for (name, faces), mine in zip(expected.items(), found, strict=True):
      self._check(mine, faces, f"{kind}, {name}")


class DetectorTest(parameterized.TestCase):
  def test_neighbours_and_padding_change_nothing(self):
    detector = _detector("package")
    # The face alone, in the same padded size as the photos beside it.
    face = np.ascontiguousarray(_astronaut()[30:200:2, 150:300:2])
    beside = np.random.default_rng(0).integers(0, 256, (88, 79, 3), np.uint8)
    (alone,) = detector.detect([face])
    self.assertLen(alone.boxes, 1)
    empty, again, _ = detector.detect([np.zeros_like(beside), face, beside])
    self.assertEmpty(empty.boxes)
    np.testing.assert_array_equal(again.boxes, alone.boxes)
    np.testing.assert_array_equal(again.points, alone.points)
    # One by one, as `find_faces` asks; the same sums in another order.
    single = Detector(detector.settings, most_photos=1)
    empty, again = single.detect([np.zeros_like(beside), face])
    self.assertEmpty(empty.boxes)
    np.testing.assert_allclose(again.boxes, alone.boxes, atol=0.01)

  @pytest.mark.slow
  def test_with_64_bits_it_stays_in_float32(self):
    _detector("package")  # Skips where it cannot be loaded.
    run = subprocess.run(
      [sys.executable, "-c", _TRACED],
      cwd=REPOSITORY,
      env=os.environ | {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"},
      capture_output=True,
      text=True,
    )
    self.assertEqual(run.stdout.split(), ["float32"] * 3, run.stderr)

  def test_a_photo_smaller_than_a_window_has_no_face(self):
    detector = _detector("package")
    (found,) = detector.detect([np.zeros((11, 9, 3), np.uint8)])
    self.assertEqual(found.boxes.shape, (0, 4))
    self.assertEqual(found.points.shape, (0, 5, 2))
    self.assertEqual(detector.detect([]), [])

  def test_photos_of_any_sizes_share_a_program_a_canvas(self):
    _detector("package")  # Skips where it cannot be loaded.
    detector = Detector(_settings("package"), side=64, most_photos=8)
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (64, 20), (20, 64), (900, 700), (33, 33)]
    sizes += rng.integers(33, 65, (40, 2)).tolist()
    detector.detect([np.zeros((*size, 3), np.uint8) for size in sizes])
    # The largest one; `CanvasesTest` has all.
    self.assertEqual(detector.num_programs(), 1)
    self.assertLessEqual(NUM_CANVASES, 6)
    self.assertGreaterEqual(batch_size(_detector("package").canvases[0]), 32)

  def test_a_large_photo_is_shrunk_and_its_faces_are_where_they_were(self):
    detector = _detector("package")
    small = _astronaut()[30:200:2, 150:300:2]
    (alone,) = detector.detect([small])
    large = np.repeat(np.repeat(small, 8, 0), 8, 1)  # 680 x 600
    (found,) = Detector(detector.settings, side=85).detect([large])
    self.assertLen(found.boxes, 1)
    expected = (alone.points + 0.5) * 8 - 0.5
    np.testing.assert_allclose(found.points, expected, atol=1)

  def test_other_thresholds_share_the_programs(self):
    settings = Settings(factor=0.5)
    detector = Detector(settings, side=150, most_photos=1)
    photo = _astronaut()[30:180, 150:300]
    (plain,) = detector.detect([photo])
    strict = detector.with_thresholds((0.6, 0.7, float(plain.scores[0]) + 1e-6))
    (none,) = strict.detect([photo])
    self.assertNotEmpty(plain.boxes)
    self.assertEmpty(none.boxes)
    self.assertEqual(detector.num_programs(), 1)
    self.assertEqual(detector.settings, settings)
    with self.assertRaisesRegex(ValueError, "thresholds: expected three"):
      detector.with_thresholds((0.5, 0.6, 1.0))

  @parameterized.parameters(
    ({"min_size_px": 5.0}, "min_size: expected at least 12"),
    ({"factor": 1.0}, "factor: expected a number between"),
    ({"thresholds": (0.5, 0.5, 1.5)}, "thresholds: expected three"),
  )
  def test_settings_out_of_range_are_refused(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      Detector(Settings(**changes))


if __name__ == "__main__":
  absltest.main()
