"""Fits about what a network says, against the same put together by hand."""

import dataclasses
import json
import pathlib

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from data_prep.fitting.fit_files import fits_path, read_fits
from data_prep.fitting.network_prior import load_prior
from data_prep.fitting.shards import FitSettings
from data_prep.fitting.stage import fit_faces
from data_prep.photos.crops import WHOLE_FACE, crop_matrix, warp_crop
from data_prep.stages.about import write_about
from data_prep.stages.rows import (
  PhotoRow,
  list_manifests,
  manifest_path,
  write_manifest,
)
from disentangle3d import inference
from disentangle3d.crop_templates import LANDMARK_TEMPLATE
from disentangle3d.fitting.landmark_fitting import fit_landmarks
from disentangle3d.fitting.options import ABOUT_A_NETWORK
from disentangle3d.geometry import apply_affine, invert_affine
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.training.export import load_network, save_network
from disentangle3d.types import UserError, UserFileNotFoundError
from tests.fixtures import random_morphable_model

_POINTS = random_morphable_model(identity_dim=6, expression_dim=3)
_MODEL = dataclasses.replace(_POINTS, triangles=_POINTS.triangles[:1])
_SIZES = FaceModel(
  "tiny",
  identity_dim=4,
  residual_dim=2,
  num_vertices=_MODEL.num_vertices,
  template="whole_face",
)
# Modes of the network in those of the 3DMM, and its mean: mixtures of some.
_IDENTITY = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
_RESIDUAL = np.random.default_rng(2).normal(size=(2, 3)).astype(np.float32)
_MEAN = np.float32([0.5, 0, -0.3, 0, 0, 0.2])
_NUM_PHOTOS = 3


def _save_network(folder):
  smaller = dataclasses.replace(
    _MODEL,
    mean_shape=_MODEL.mean_shape + _MODEL.identity_basis @ _MEAN,
    identity_basis=_MODEL.identity_basis[..., :4],
    expression_basis=_MODEL.expression_basis[..., :2],
  )
  params = init_params(jax.random.key(0), _SIZES, smaller)
  for name, mixture, basis in (
    ("identity_decoder", _IDENTITY, _MODEL.identity_basis),
    ("residual_decoder", _RESIDUAL, _MODEL.expression_basis),
  ):
    kernel = np.moveaxis(basis @ mixture.T, -1, 0)
    params[name] = {"kernel": jnp.asarray(kernel.reshape(len(mixture), -1))}
  save_network(folder, _SIZES, params, smaller, phase="test")


class NetworkPriorTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    self.path = self.folder / "network"
    _save_network(self.path)
    params = load_network(self.path).params
    rng = np.random.default_rng(3)
    self.rows, self.crops = [], []
    for number in range(_NUM_PHOTOS):
      photo = rng.integers(0, 256, (150, 140, 3), np.uint8)
      path = self.folder / f"{number}.png"
      Image.fromarray(photo).save(path)
      # Rows are of another template than the network's.
      own = np.float32([[0.9, 0.1, -9], [-0.1, 0.9, -2 * number]])
      points = LANDMARK_TEMPLATE + rng.normal(size=(68, 2)).astype("f")
      landmarks = np.asarray(apply_affine(invert_affine(own), points))
      self.rows.append(
        PhotoRow(
          image_path=path,
          subject=f"p{number // 2}",
          image_id=f"p{number // 2}/{number}",
          status="ok",
          detector="MTCNN + synthetic 68",
          box=np.zeros(4),
          five_points=np.zeros((5, 2)),
          landmarks=landmarks,
          visibility=np.ones(68, np.float32),
          crop_from_photo=own,
          crop_path=path,
        )
      )
      matrix = crop_matrix(landmarks, WHOLE_FACE)
      self.crops.append(warp_crop(photo, matrix, WHOLE_FACE))
    codes = inference.encode(params, np.stack(self.crops), model=_SIZES)
    self.alpha = np.asarray(codes.identity) @ _IDENTITY + _MEAN
    self.beta = np.asarray(codes.residual) @ _RESIDUAL

  def test_codes_of_the_networks_own_crops_in_the_models_coefficients(self):
    alpha, beta = load_prior(self.path, _MODEL).means(self.rows)
    np.testing.assert_allclose(alpha, self.alpha, atol=2e-4)
    np.testing.assert_allclose(beta, self.beta, atol=2e-4)
    self.assertGreater(np.ptp(alpha, axis=0).max(), 1e-3)

  def test_fits_are_about_them(self):
    aligned = self.folder / "aligned"
    aligned.mkdir()
    write_manifest(manifest_path(aligned, 0, 1), self.rows)
    write_about(aligned, "align_faces", settings={}, licences={}, counts={})
    settings = FitSettings(
      contour="off",
      options=ABOUT_A_NETWORK,
      max_relative_error=10,
      about=str(self.path),
    )
    fit_faces(aligned, _MODEL, self.folder / "fitted", settings=settings)
    about = json.loads((self.folder / "fitted/about.json").read_text())
    self.assertRegex(about["settings"]["about"], "points, sha256 [0-9a-f]{16}$")
    self.assertIn("network of random points", about["licences"])
    (manifest,) = list_manifests(self.folder / "fitted")
    got = read_fits(fits_path(manifest))
    crop = np.stack(
      [
        np.asarray(apply_affine(row.crop_from_photo, row.landmarks))
        for row in self.rows
      ]
    ).astype(np.float32)
    for person in ([0, 1], [2]):
      expected = fit_landmarks(
        _MODEL,
        crop[None, person],
        np.ones((1, len(person), 68), np.float32),
        options=ABOUT_A_NETWORK,
        identity_mean=self.alpha[person].mean(0)[None],
        expression_mean=self.beta[np.array(person)][None],
      )
      for place, photo in enumerate(person):
        np.testing.assert_allclose(
          got.identity_coefficients[photo],
          expected.identity_coefficients[0],
          atol=5e-3,
        )
        np.testing.assert_allclose(
          got.expression_coefficients[photo],
          expected.expression_coefficients[0, place],
          atol=5e-3,
        )

  def test_another_mesh_and_a_photo_that_is_gone(self):
    other = dataclasses.replace(_MODEL, triangles=_POINTS.triangles[1:2])
    with self.assertRaisesRegex(UserError, "--about: expected a network of"):
      load_prior(self.path, other)
    self.rows[1].image_path.unlink()
    prior = load_prior(self.path, _MODEL)
    with self.assertRaisesRegex(UserFileNotFoundError, "1.png"):
      prior.means(self.rows)


if __name__ == "__main__":
  absltest.main()
