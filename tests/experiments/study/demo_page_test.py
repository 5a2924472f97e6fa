"""The demo's page, of figures and faces that are made up."""

import pathlib
import types
from unittest import mock

from absl.testing import absltest
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet
from disentangle3d.evaluation.pair_plans import draw_pairs, plan_pairs
from disentangle3d.evaluation.shape_scores import Method, ShapeScores
from disentangle3d.geometry import Camera
from disentangle3d.types import Latents
from experiments.measures import verification
from experiments.measures.reconstruction import SetResults
from experiments.pages.faces import face_row
from experiments.sets.faces import FaceSet
from experiments.sets.heldout import MEAN_SHAPE, MULTI_FIT, SINGLE_FIT
from experiments.sets.synthetic import OUTDOOR
from experiments.study import demo_page
from experiments.study.gates import (
  AFTER_JOINT,
  AFTER_PRETRAINING,
  CONTROL,
  Gate,
)
from tests.fixtures import random_morphable_model

_PEOPLE, _EACH = 8, 4
_NETWORKS = (AFTER_PRETRAINING, CONTROL, AFTER_JOINT)


def _heldout():
  count = _PEOPLE * _EACH
  rng = np.random.default_rng(0)
  camera = Camera(
    scale=np.ones(count, np.float32),
    rotation=np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
    translation=np.zeros((count, 2), np.float32),
  )
  return types.SimpleNamespace(
    fitter=random_morphable_model(),
    num_photos=count,
    multi=types.SimpleNamespace(camera=camera),
    photos=types.SimpleNamespace(
      image=rng.integers(0, 256, (count, 112, 96, 3), np.uint8),
      landmarks=np.zeros((count, 68, 2), np.float32),
      visibility=np.ones((count, 68), np.float32),
      person=np.repeat(np.arange(_PEOPLE), _EACH).astype(np.int32),
      yaw_rad=np.radians(np.tile([-61.0, 25.0, 0.0, 13.0], _PEOPLE)),
    ),
  )


def _stored(shapes):
  return Method(
    jax.jit(lambda data, rows: (data[rows], -data[rows])), jnp.asarray(shapes)
  )


class FacesToShowTest(absltest.TestCase):
  def test_people_turn_further_and_each_has_its_own_error(self):
    heldout = _heldout()
    mean = np.asarray(heldout.fitter.mean_shape)
    rng = np.random.default_rng(1)
    truth = mean + rng.normal(size=(heldout.num_photos, *mean.shape))
    # Half as large: the protocol's alignment takes that away.
    methods = {
      AFTER_JOINT: _stored(np.float32(0.5 * truth)),
      MULTI_FIT: _stored(np.float32(2 * truth)),
    }
    with (
      mock.patch.object(demo_page, "shape_methods", return_value=methods),
      mock.patch.object(
        demo_page, "truth_of", return_value=_stored(np.float32(truth))
      ),
    ):
      shown = demo_page.faces_to_show(heldout, None)
    self.assertEqual(
      [face.title for face in shown.faces],
      [
        f"person {person}, yaw {yaw}°"
        for person, yaw in enumerate(("0", "13", "25", "25", "−61", "−61"))
      ],
    )
    rows = np.array([2, 7, 9, 13, 16, 20])
    np.testing.assert_allclose(shown.truths, truth[rows], atol=1e-4)
    known = np.isfinite(shown.errors_mm)
    self.assertLess(shown.errors_mm[known].max(), 1e-3)
    for face, row in zip(shown.faces, rows, strict=True):
      np.testing.assert_array_equal(face.image, heldout.photos.image[row])
      np.testing.assert_allclose(face.fit, 2 * truth[row], atol=1e-3)
      np.testing.assert_allclose(face.identity_shape, -face.shape)


class ReportTest(absltest.TestCase):
  def test_the_evaluations_figures_stand_on_the_page(self):
    heldout = _heldout()
    people = heldout.photos.person
    scores = {
      name: ShapeScores(*np.full((6, len(people)), 2.0 + 0.25 * place))
      for place, name in enumerate(
        (MEAN_SHAPE, SINGLE_FIT, MULTI_FIT, *_NETWORKS)
      )
    }
    codes = np.eye(_PEOPLE, dtype=np.float32)[people]
    faces = FaceSet(
      "synthetic, per_person",
      heldout.photos.image,
      draw_pairs(people, plan_pairs(people)),
      people=people,
    )
    with mock.patch.object(
      verification, "encode_crops", return_value=Latents(codes, codes)
    ):
      verified = verification.measure_faces(
        faces, dict.fromkeys(_NETWORKS, None)
      )
    path = pathlib.Path(self.create_tempdir().full_path) / "report.html"
    shown = demo_page.ShownFaces([], np.zeros((0, 120, 3)), np.zeros((0, 120)))
    crop = heldout.photos.image[0]
    with mock.patch.object(demo_page, "heat_map", return_value=Figure()):
      demo_page.write_report(
        path,
        SetResults(OUTDOOR, heldout, scores, {}, None),
        {"per_person": verified},
        [Gate("what is demanded", False)],
        shown,
        [[(f"picture {n}", crop) for n in range(5)]],
        runs={},
        settings=SyntheticSet(seed=3),
        seconds={"world": 1.0},
      )
    page = path.read_text()
    for text in (
      'what is demanded</td><td class="text">FAILED',
      "3D error: synthetic_outdoor</h2>",
      "3D error against |yaw|",
      "3.25 [3.25, 3.25]",
      f"{AFTER_JOINT} − {AFTER_PRETRAINING}</td><td>0.50 [0.50, 0.50]",
      f"{AFTER_PRETRAINING} − {MEAN_SHAPE}</td><td>0.75 [0.75, 0.75]",
      "Verification: synthetic, per_person</h2>",
      f"identity code, {AFTER_JOINT}</td><td>100.00 ± 0.00",
      "picture 4",
      "experiments.demo --seed=3",
    ):
      self.assertIn(text, page)
    # No link leads out; pictures in base64 have no colon.
    self.assertNotIn("://", page)

  def test_five_pictures_share_a_row(self):
    image = np.zeros((4, 400, 3), np.uint8)
    row = face_row([("one", image)] * 5)
    self.assertEqual((row.columns, len(row.pictures)), (5, 5))


if __name__ == "__main__":
  absltest.main()
