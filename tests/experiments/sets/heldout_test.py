"""Landmark fits of held-out people whose jaw shows the silhouette."""

import dataclasses

from absl.testing import absltest
import numpy as np
import pytest

from data_prep.datasets.synthetic_set import (
  SyntheticSet,
  fit_labels,
  label_model,
  world_of,
)
from experiments.sets.heldout import SINGLE_FIT, heldout_people, score_heldout
from experiments.sets.synthetic import YAW, world_of_set


class HeldOutTest(absltest.TestCase):
  @pytest.mark.slow
  def test_at_60_degrees_following_the_silhouette_is_nearer_the_truth(self):
    settings = SyntheticSet(
      people=1, photos_per_person=1, heldout_people=6, num_vertices=2000
    )
    world, fitter = world_of(settings)
    heldout = heldout_people(*world_of_set(YAW, settings, world, 0), fitter)
    photos = heldout.photos
    fixed = dataclasses.replace(
      heldout,
      single=fit_labels(
        label_model(fitter, "fixed_vertices"),
        photos.landmarks,
        photos.visibility,
        np.arange(heldout.num_photos),
      ),
    )
    turned = np.abs(np.degrees(photos.yaw_rad).round()) == 60
    self.assertEqual(turned.sum(), 12)
    moving, still = (
      score_heldout(fits, {})[SINGLE_FIT].within[turned].mean()
      for fits in (heldout, fixed)
    )
    self.assertLess(moving, 0.8 * still)


if __name__ == "__main__":
  absltest.main()
