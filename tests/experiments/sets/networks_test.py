import json
import pathlib
import types

from absl.testing import absltest

from disentangle3d.training.dataset import MANIFEST
from disentangle3d.training.export import abstract_params, save_network
from experiments import evaluate_verification
from experiments.sets.networks import read_networks, template_of
from tests.fixtures import random_leaves
from tests.training.cases import MODEL, MORPHABLE_MODEL, write_tiny_dataset


class NetworksTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    for template in ("sphereface", "whole_face"):
      model = MODEL.clone(template=template)
      params = random_leaves(abstract_params(model))
      save_network(
        self.folder / template, model, params, MORPHABLE_MODEL, phase="x"
      )

  def _named(self, template):
    return f"{template}={self.folder / template}"

  def test_all_see_the_same_crops(self):
    self.assertEqual(template_of({}), "sphereface")
    for template in ("sphereface", "whole_face"):
      networks = read_networks([self._named(template)])
      self.assertEqual(template_of(networks), template)
    both = [self._named("whole_face"), self._named("sphereface")]
    with self.assertRaisesRegex(
      ValueError, "sphereface: expected .*'whole_face', as the others"
    ):
      template_of(read_networks(both))

  def test_trunks_and_codes_are_compared_on_the_same_crops(self):
    def values(**given):
      usual = {"dataset": [], "trained_on": None, "eigenfaces_from": None}
      return types.SimpleNamespace(**usual | {"bin": [], "dlib": False} | given)

    whole = read_networks([self._named("whole_face")])
    trunks = read_networks([self._named("sphereface")], flag="trunk")
    template = evaluate_verification._template
    self.assertEqual(template(values(), whole, {}), "whole_face")
    with self.assertRaisesRegex(ValueError, "--trunk=sphereface: expected"):
      template(values(), whole, trunks)
    with self.assertRaisesRegex(ValueError, "--bin, --dlib: .*'whole_face'"):
      template(values(dlib=True), whole, {})
    dataset = write_tiny_dataset(self.folder / "dataset")
    for flag in ("trained_on", "eigenfaces_from"):
      with self.assertRaisesRegex(ValueError, "dataset: expected crops of"):
        template(values(**{flag: dataset}), whole, {})
      template(values(**{flag: dataset}), {}, trunks)

  def test_a_dataset_has_the_crops_that_they_see(self):
    dataset = write_tiny_dataset(self.folder / "dataset")
    whole = [self._named("whole_face")]
    read_networks([self._named("sphereface")], datasets=[dataset])
    with self.assertRaisesRegex(ValueError, "dataset: expected .*'whole_face'"):
      read_networks(whole, datasets=[dataset])
    manifest = json.loads((dataset / MANIFEST).read_text())
    (dataset / MANIFEST).write_text(
      json.dumps(manifest | {"template": "whole_face"})
    )
    self.assertLen(read_networks(whole, datasets=[dataset]), 1)


if __name__ == "__main__":
  absltest.main()
