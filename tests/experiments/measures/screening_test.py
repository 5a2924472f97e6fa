"""Who looks like somebody trained on, against loops written out."""

import pathlib
from types import SimpleNamespace

from absl.testing import absltest
import jax
import numpy as np

from data_prep.datasets.writer import write_dataset
from disentangle3d.evaluation.code_scores import score_pairs
from disentangle3d.evaluation.pairs import Pairs
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.network.face_model import FaceModel
from disentangle3d.network.sphereface import SphereFace, scale_images
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.export import (
  abstract_params,
  load_network,
  save_network,
)
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.types import UserError
from experiments.measures.screening import (
  first_rows,
  kept_pairs,
  known_people,
  verify_some,
)
from experiments.sets.faces import FaceSet
from tests.training.cases import records

_BASIS = procedural_face_model(
  num_vertices=600, identity_dim=12, expression_dim=5
)


class ScreeningTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    write_dataset(self.root / "dataset", {"train": records()}, _BASIS, {})
    rng = np.random.default_rng(0)
    model = FaceModel("tiny", 12, 5, _BASIS.num_vertices)
    params = jax.tree.map(
      lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32),
      abstract_params(model),
    )
    params["mean_shape"] = np.asarray(_BASIS.mean_shape)
    save_network(self.root / "network", model, params, _BASIS, phase="test")
    self.network = load_network(self.root / "network")

  def _feature(self, crop):
    trunk = {"params": self.network.params["encoder"]["trunk"]}
    feature = SphereFace("tiny").apply(trunk, scale_images(crop[None]))[0]
    return np.asarray(feature) / np.linalg.norm(feature)

  def test_a_photo_is_taken_for_whom_it_is_near(self):
    reader = RecordReader(open_dataset(self.root / "dataset", "train"))
    batch = reader.read(range(len(reader)))
    means = []
    for label in np.unique(batch.label):
      mine = np.flatnonzero(batch.label == label)[:3]
      mean = np.mean([self._feature(batch.image[row]) for row in mine], 0)
      means.append(mean / np.linalg.norm(mean))
    noise = np.random.default_rng(1).integers(0, 256, (8, 112, 96, 3))
    images = np.concatenate(
      [batch.image[:4], 255 - batch.image[4:8], noise.astype(np.uint8)]
    )
    expected = [
      max(float(mean @ self._feature(image)) for mean in means)
      for image in images
    ]
    bound = float(np.median(expected))
    people = known_people(
      str(self.root / "dataset"), self.network, bound + 1e-4
    )
    np.testing.assert_allclose(people.means, means, atol=1e-4)
    nobody = Pairs(*np.zeros((4, 0), int))
    alike = people.alike(FaceSet("set", images, nobody))
    np.testing.assert_array_equal(alike, np.array(expected) > bound + 1e-4)
    self.assertBetween(alike.sum(), 1, len(images) - 1)

  def test_the_first_rows_of_each_label(self):
    labels = np.array([3, 1, 3, 3, 1, 7, 3])
    np.testing.assert_array_equal(first_rows(labels, 2), [0, 1, 2, 4, 5])

  def test_pairs_that_are_left_are_equally_many_a_fold(self):
    rng = np.random.default_rng(2)
    fold = np.repeat(np.arange(4), 30)
    same = np.tile(np.arange(30) < 15, 4)
    pairs = Pairs(
      rng.integers(0, 40, 120), rng.integers(40, 80, 120), same, fold
    )
    alike = rng.random(80) < 0.15
    kept = kept_pairs(pairs, alike)
    self.assertFalse(alike[pairs.first[kept]].any())
    self.assertFalse(alike[pairs.second[kept]].any())
    counts = [
      [np.sum((fold[kept] == f) & (same[kept] == s)) for f in range(4)]
      for s in (True, False)
    ]
    clean = ~(alike[pairs.first] | alike[pairs.second])
    for row, kind in zip(counts, (True, False), strict=True):
      least = min(
        np.sum(clean & (fold == f) & (same == kind)) for f in range(4)
      )
      self.assertEqual(row, [least] * 4)
    # Everybody is a code of their own, so that no score tells anything.
    scored = score_pairs(np.eye(80), pairs)
    results = SimpleNamespace(
      faces=SimpleNamespace(pairs=pairs), rows={"code": scored}
    )
    found = verify_some(results, kept)["code"]
    self.assertEqual(found.auc.mean, 50)
    with self.assertRaisesRegex(UserError, "--alike: expected a bound"):
      kept_pairs(pairs, np.ones(80, bool))


if __name__ == "__main__":
  absltest.main()
