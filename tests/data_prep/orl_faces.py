"""The ORL photographs beside the repository, and the detector for them."""

import functools
import importlib.util
import pathlib
import unittest

from data_prep.faces.dlib_locator import DlibLocator
from tests.fixtures import SHARED_DATA

FOLDER = SHARED_DATA / "orl_faces"


def skip_unless_there(case: unittest.TestCase) -> pathlib.Path:
  """The folder of photographs; skips where they are not."""
  if not FOLDER.is_dir():
    case.skipTest(f"{FOLDER} is not there")
  return FOLDER


@functools.cache
def locator() -> DlibLocator:
  """The detector, loaded once; skips where the extra is not installed."""
  for name in ("dlib", "face_recognition_models"):
    if importlib.util.find_spec(name) is None:
      raise unittest.SkipTest(f"{name} is not installed (extra `detect`)")
  return DlibLocator()
