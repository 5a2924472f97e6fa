from absl.testing import absltest
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from data_prep.faces.mtcnn.patches import crop_patches, map_present, pack_pixels


class CropPatchesTest(absltest.TestCase):
  def test_boxes_are_cut_out_and_resized(self):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 30, 40, 3), np.uint8)
    sizes = np.array([[30, 40], [21, 33]])
    owner = np.array([0, 1, 1, 0])
    boxes = np.array(
      [[3, 4, 20, 21], [5.5, 2.25, 12, 9], [-6, -4, 10, 12], [20, 15, 50, 45]],
      np.float32,
    )
    # Each photo row after row; what is behind its last pixel counts nothing.
    flat = np.full((2, 30 * 40, 3), 255, np.uint8)
    for photo, (height, width) in enumerate(sizes):
      pixels = images[photo, :height, :width].reshape(-1, 3)
      flat[photo, : len(pixels)] = pixels
    patches = crop_patches(
      pack_pixels(jnp.asarray(flat)),
      jnp.asarray(sizes),
      jnp.asarray(owner),
      jnp.asarray(boxes),
      8,
    )
    for patch, photo, box in zip(patches, owner, boxes, strict=True):
      height, width = sizes[photo]
      y = np.linspace(*(box[1::2] * (height - 1) / height), 8)
      x = np.linspace(*(box[::2] * (width - 1) / width), 8)
      places = np.stack(np.meshgrid(y, x, indexing="ij"))
      inside = (places[0] >= 0) & (places[0] <= height - 1)
      inside &= (places[1] >= 0) & (places[1] <= width - 1)
      for color in range(3):
        expected = ndimage.map_coordinates(
          images[photo, :height, :width, color].astype(float), places, order=1
        )
        expected = np.where(inside, (expected - 127.5) / 128, 0.0)
        np.testing.assert_allclose(patch[..., color], expected, atol=1e-4)
    self.assertEqual(float(np.abs(patches[2][0]).max()), 0.0)


class MapPresentTest(absltest.TestCase):
  def test_only_boxes_that_are_present_are_looked_at(self):
    rng = np.random.default_rng(1)
    boxes = rng.normal(size=(3, 7, 4)).astype(np.float32)
    present = rng.random((3, 7)) < 0.5
    found = map_present(
      lambda owner, box: jnp.concatenate([box[:, :2], owner[:, None] + 1.0], 1),
      jnp.asarray(boxes),
      jnp.asarray(present),
      columns=3,
      at_once=4,
    )
    owner = np.broadcast_to(np.arange(3)[:, None, None] + 1, (3, 7, 1))
    expected = np.concatenate([boxes[..., :2], owner], -1)
    np.testing.assert_allclose(
      found, np.where(present[..., None], expected, 0), rtol=1e-6
    )


if __name__ == "__main__":
  absltest.main()
