"""What the paper's pictures show: bases, and which mesh stands where."""

import pathlib
import types

from absl.testing import absltest, parameterized
import matplotlib
import numpy as np

from disentangle3d.evaluation.scans import make_scan, scan_of
from disentangle3d.faces.meshes import write_mesh
from disentangle3d.reporting.charts import figure_image
from disentangle3d.reporting.figures import error_colors
from experiments.pages import bases as decoder_bases
from experiments.pages import galleries as gallery_faces
from experiments.sets.meshes import read_mesh_folders
from tests.fixtures import random_morphable_model


def _network(model, seed=0):
  rng = np.random.default_rng(seed)
  flat = model.mean_shape.size
  params = {
    "mean_shape": model.mean_shape.ravel(),
    "identity_decoder": {"kernel": rng.normal(size=(4, flat)).astype("f")},
    "residual_decoder": {"kernel": rng.normal(size=(3, flat)).astype("f")},
  }
  return types.SimpleNamespace(params=params, triangles=model.triangles)


class BasesTest(absltest.TestCase):
  def test_values_behind_the_heat_map_equal_numpys(self):
    model = random_morphable_model()
    network = _network(model)
    bases = decoder_bases.read_bases(network, 3)
    found = decoder_bases.distances(bases.residual)
    kernel = network.params["residual_decoder"]["kernel"]
    for latent in range(3):
      for vertex in (0, 7, 119):
        x, y, z = 2 / 3 * kernel[latent, 3 * vertex : 3 * vertex + 3]
        self.assertAlmostEqual(
          found[latent, vertex], np.sqrt(x * x + y * y + z * z), places=5
        )
    np.testing.assert_array_equal(bases.mean_shape, model.mean_shape)
    first = network.params["identity_decoder"]["kernel"][0].reshape(-1, 3)
    np.testing.assert_allclose(bases.identity[0], 2 / 3 * first, rtol=1e-6)

  def test_more_than_a_decoder_has_is_refused(self):
    network = _network(random_morphable_model())
    with self.assertRaisesRegex(
      ValueError, "1 to 3, .*residual_decoder.*got 4"
    ):
      decoder_bases.read_bases(network, 4)
    with self.assertRaisesRegex(ValueError, "bases: expected 1 to 4"):
      decoder_bases.read_bases(network, 0)

  def test_before_stands_over_after_and_their_difference_below(self):
    model = random_morphable_model()
    before, after = _network(model), _network(model, seed=1)
    # Only the second residual basis changes, by 3 mm at every vertex.
    for name in ("identity_decoder", "residual_decoder"):
      kernel = before.params[name]["kernel"].copy()
      after.params[name]["kernel"] = kernel
    step = np.tile([3 / decoder_bases.LATENT, 0, 0], 120)
    after.params["residual_decoder"]["kernel"][1] += step
    section = decoder_bases.bases_section(
      {"before": before, "after": after}, count=2, size_px=32
    )
    identity, residual, changed = (
      figure_image(b.image) for b in section.blocks
    )
    self.assertGreater(identity.shape[1], changed.shape[1] - 170)

    def cell(picture, row, column):
      y, x = 10 + 64 + row * 42, 10 + 64 + column * 42
      return picture[y : y + 32, x : x + 32].astype(int)

    for column in range(3):
      np.testing.assert_array_equal(
        cell(identity, 0, column), cell(identity, 1, column)
      )
    np.testing.assert_array_equal(cell(residual, 0, 0), cell(residual, 1, 0))
    self.assertGreater(
      np.abs(cell(residual, 0, 1) - cell(residual, 1, 1)).max(), 20
    )
    # Unmoved is the first colour, moved the last, in the difference's row.
    dark = cell(changed, 1, 0)
    np.testing.assert_array_equal(cell(changed, 0, 0), dark)
    np.testing.assert_array_equal(cell(changed, 0, 1), dark)
    ink = (dark < 250).any(-1)
    self.assertGreater(
      cell(changed, 1, 1)[ink][:, 1].mean(), dark[ink][:, 1].mean() + 80
    )

  def test_the_bar_ends_with_the_basis_that_moves_most(self):
    network = _network(random_morphable_model())
    kernel = network.params["residual_decoder"]["kernel"]
    kernel[:] = 0
    # One vertex of 120, of one basis of three.
    kernel[1, :3] = [0, 3 / decoder_bases.LATENT, 0]
    section = decoder_bases.bases_section({"one": network}, count=3, size_px=32)
    self.assertGreater(section.blocks[1].image.axes[-1].get_ylim()[1], 1.0)


class ErrorColorsTest(absltest.TestCase):
  def test_ends_of_the_bar_and_what_is_unknown(self):
    colors = error_colors(np.array([0.0, 1.0, 2.0, 9.0, np.nan]), 2.0)
    viridis = matplotlib.colormaps["viridis"]
    for place, share in enumerate((0.0, 0.5, 1.0, 1.0)):
      np.testing.assert_allclose(colors[place], viridis(share)[:3], atol=1e-6)
    self.assertEqual(np.ptp(colors[4]), 0)


class GalleryFacesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.model = random_morphable_model()
    self.topology = self.model.triangles, self.model.landmark_vertices
    self.mean = scan_of(self.model.mean_shape, *self.topology)

  def test_a_mesh_in_metres_and_turned_is_laid_over_the_mean(self):
    angle = np.radians(70)
    turn = np.array(
      [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
      ]
    )
    landmarks = self.mean.landmarks.copy()
    landmarks[5] = np.nan
    moved = make_scan(
      (self.model.mean_shape @ turn.T / 1000 + [3, 2, 1]).astype("f"),
      self.model.triangles,
      landmarks @ turn.T / 1000 + [3, 2, 1],
    )
    np.testing.assert_allclose(
      gallery_faces.laid_over(moved, self.mean),
      self.model.mean_shape,
      atol=1e-2,
    )
    blind = make_scan(
      self.model.mean_shape, self.model.triangles, np.full((68, 3), np.nan)
    )
    with self.assertRaisesRegex(ValueError, "3 or more .*got 0"):
      gallery_faces.laid_over(blind, self.mean)

  def test_meshes_stand_with_their_photo_full_and_identity_apart(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    for name, files in (
      ("both", ("a", "a_identity", "b")),
      ("neutral", ("b_identity",)),
    ):
      (root / name / "p").mkdir(parents=True)
      for number, file in enumerate(files):
        shape = self.model.mean_shape + np.float32(number)
        write_mesh(root / name / "p" / f"{file}.obj", shape, self.topology[0])
    folders = read_mesh_folders(
      [f"{name}={root / name}" for name in ("both", "neutral")],
      self.topology[1],
      self.topology[0],
      120,
    )
    whole, neutral = gallery_faces.read_meshes(folders, ["p/a", "p/b"])
    self.assertEqual([list(one) for one in whole], [["both"], ["both"]])
    self.assertEqual([list(one) for one in neutral], [["both", "neutral"]] * 2)
    self.assertIsNone(neutral[0]["neutral"])
    self.assertIsNone(neutral[1]["both"])
    np.testing.assert_allclose(
      whole[1]["both"].surface.vertices, self.model.mean_shape + 2, atol=1e-3
    )
    with self.assertRaisesRegex(ValueError, "both: expected meshes as p/c.obj"):
      gallery_faces.read_meshes(folders, ["p/c"])

  def test_photo_then_full_then_identity_shapes_in_their_boxes(self):
    small = scan_of(0.5 * self.model.mean_shape, *self.topology)
    photo = gallery_faces.GalleryPhoto(
      title="person 1",
      image=np.full((112, 96, 3), 77, np.uint8),
      shapes={"truth": self.mean, "other": None},
      identity_shapes={"ours": small},
    )
    picture = gallery_faces.photo_gallery(
      [photo, photo], self.mean, caption="it", size_px=32
    )
    texts = [text.get_text() for text in picture.image.texts]
    for text in ("person 1", "photo", "truth", "other", "ours", "50 mm"):
      self.assertIn(text, texts)
    self.assertEqual(texts.count("–"), 2)
    self.assertEqual(
      [t for t in texts if "shape" in t], ["full shape", "identity shape"]
    )

  def test_the_strip_has_photos_over_full_over_identity_shapes(self):
    empty = make_scan(
      np.zeros_like(self.model.mean_shape),
      *self.topology[:1],
      self.mean.landmarks,
    )
    photos = [
      gallery_faces.GalleryPhoto(
        f"person {n}",
        np.full((32, 32, 3), 77, np.uint8),
        {"ours": self.mean},
        {"ours": empty},
      )
      for n in range(2)
    ]
    strip = gallery_faces.strip(
      photos, self.mean, "ours", caption="", size_px=32
    )
    picture = figure_image(strip.image)
    x, y = 10 + 64 + 42, 10 + 64
    cells = [picture[y + 42 * row :, x:][:32, :32] for row in range(3)]
    self.assertTrue((cells[0] == 77).all())
    self.assertLess((cells[1] == 255).mean(), 0.9)
    self.assertGreater((cells[2] == 255).mean(), 0.98)


if __name__ == "__main__":
  absltest.main()
