"""The process that runs FAN, with a package of the same calls in its place.

The real package brings PyTorch and downloads its weights, which a test may not;
all else is real: process, pipes, requests and answers.
"""

import pathlib
import sys
import tempfile
import textwrap

from absl.testing import absltest
import numpy as np

from data_prep.faces.fan_locator import FanLocator
from data_prep.faces.locators import NoFaceError
from data_prep.stages.rows import PhotoRow
from disentangle3d.types import UserError

# Landmarks on the box's diagonal, the first at the photo's brightest pixel.
_PACKAGE = """
import enum
import numpy as np

class LandmarksType(enum.Enum):
  TWO_D = 1

class _Detector:
  def detect_from_image(self, photo):
    if photo.max() < 100:
      return []
    height, width = photo.shape[:2]
    return [np.array([0, 0, 9, 9, 0.9]),
            np.array([width / 4, height / 4, width / 2, height / 2, 0.8])]

class FaceAlignment:
  def __init__(self, kind, device):
    assert kind is LandmarksType.TWO_D
    print("weights of", device)
    self.face_detector = _Detector()

  def get_landmarks_from_image(self, photo, detected_faces):
    (box,) = detected_faces
    if photo[0, 0, 0] == 255:
      raise RuntimeError("out of memory")
    t = np.linspace(0, 1, 68)[:, None]
    points = (1 - t) * np.array([box[:2]]) + t * np.array([box[2:4]])
    place = np.unravel_index(photo.sum(-1).argmax(), photo.shape[:2])
    points[0] = place[::-1]
    return [points]
"""


class FanLocatorTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    scratch = tempfile.TemporaryDirectory()
    self.addCleanup(scratch.cleanup)
    self.folder = pathlib.Path(scratch.name)

  def _python(self, package: str) -> str:
    """A Python in whose environment `face_alignment` is `package`."""
    site = self.folder / "site"
    about = site / "face_alignment-1.5.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Name: face_alignment\nVersion: 1.5.0\n")
    (site / "face_alignment.py").write_text(textwrap.dedent(package))
    python = self.folder / "python"
    python.write_text(
      f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    return str(python)

  def _row(self, box=None) -> PhotoRow:
    return PhotoRow(self.folder / "1.png", "a", "a/1.png", "ok", box=box)

  def test_photo_and_box_go_out_and_landmarks_come_back(self):
    photo = np.full((120, 160, 3), 10, np.uint8)
    photo[70, 33] = 200
    with FanLocator(self._python(_PACKAGE), device="cpu") as locator:
      self.assertEqual(
        locator.settings, {"locator": "fan", "face_alignment": "1.5.0"}
      )
      box = np.array([20, 30, 100, 110], np.float32)
      given = locator.locate(photo, self._row(box))
      # The next request is not mixed up with the one before.
      own = locator.locate(photo, self._row())
      with self.assertRaisesRegex(NoFaceError, "no face found"):
        locator.locate(np.zeros((30, 40, 3), np.uint8), self._row())
    self.assertEqual(given.landmarks.shape, (68, 2))
    np.testing.assert_array_equal(given.landmarks[0], [33, 70])
    np.testing.assert_array_equal(given.landmarks[-1], [100, 110])
    np.testing.assert_array_equal(given.box, box)
    # Without a box: the detector's face that is nearest to the centre.
    np.testing.assert_array_equal(own.box, [40, 30, 80, 60])
    np.testing.assert_array_equal(own.landmarks[-1], [80, 60])
    self.assertEqual(own.visibility.min(), 1)

  def test_a_process_that_ends_says_why(self):
    with self.assertRaisesRegex(
      ChildProcessError, "--fan_python.*No module named 'absent'"
    ):
      FanLocator(self._python("import absent"))

  def test_a_process_that_ends_later_says_why_too(self):
    with FanLocator(self._python(_PACKAGE)) as locator:
      with self.assertRaisesRegex(ChildProcessError, "out of memory"):
        locator.locate(np.full((9, 9, 3), 255, np.uint8), self._row())

  def test_a_missing_python_is_named(self):
    with self.assertRaisesRegex(UserError, "^/no_python: cannot be started"):
      FanLocator("/no_python")


if __name__ == "__main__":
  absltest.main()
