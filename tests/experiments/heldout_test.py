"""Landmark fits of held-out people whose jaw shows the silhouette."""

import types

from absl.testing import absltest
import numpy as np
import pytest

from data_prep.synthetic_set import SyntheticSet, world_of
from experiments.heldout import (
  SINGLE_CONTOUR_FIT,
  SINGLE_FIT,
  contour_fits,
  heldout_people,
  score_heldout,
)
from experiments.synthetic_sets import YAW, world_of_set


class ContourFitsTest(absltest.TestCase):
  def test_a_jaw_on_its_vertices_has_no_silhouette_to_follow(self):
    world = types.SimpleNamespace(jaw="fixed_vertices")
    self.assertEqual(contour_fits(types.SimpleNamespace(world=world)), {})

  @pytest.mark.slow
  def test_at_60_degrees_following_the_silhouette_is_nearer_the_truth(self):
    settings = SyntheticSet(
      people=1, photos_per_person=1, heldout_people=6, num_vertices=2000
    )
    world, fitter = world_of(settings)
    heldout = heldout_people(*world_of_set(YAW, settings, world, 0), fitter)
    scores = score_heldout(heldout, {}, contour_fits(heldout))
    turned = np.abs(np.degrees(heldout.photos.yaw_rad).round()) == 60
    self.assertEqual(turned.sum(), 12)
    fixed, moving = (
      scores[name].within[turned].mean()
      for name in (SINGLE_FIT, SINGLE_CONTOUR_FIT)
    )
    self.assertLess(moving, 0.8 * fixed)


if __name__ == "__main__":
  absltest.main()
