import io

from absl.testing import absltest, parameterized
import jax.numpy as jnp
import numpy as np
from PIL import Image

from disentangle3d.faces.jpeg import jpeg_loss


class JpegLossTest(parameterized.TestCase):
  @parameterized.parameters(20, 50, 90)
  def test_loses_what_libjpeg_loses(self, quality):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:112, :96]
    smooth = np.stack([y + x, 200 - y, 40 + 2 * x], -1).astype(np.float32)
    picture = np.clip(smooth + 12 * rng.normal(size=smooth.shape), 0, 255)
    picture = np.round(picture).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=0)
    expected = np.asarray(Image.open(file), np.float32)
    got = np.asarray(jpeg_loss(jnp.asarray(picture, jnp.float32), quality))
    lost = np.abs(expected - picture).mean()
    self.assertLess(np.abs(got - expected).mean(), 0.15 * lost + 0.5)


if __name__ == "__main__":
  absltest.main()
