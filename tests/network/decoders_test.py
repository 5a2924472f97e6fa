"""The linear decoder: layout, initial noise, refusal."""

from absl.testing import absltest
import jax
import numpy as np

from disentangle3d.geometry import unflatten_vertices
from disentangle3d.network.decoders import LinearDecoder


class LinearDecoderTest(absltest.TestCase):
  def test_a_unit_latent_gives_its_row(self):
    kernel = np.arange(2 * 12, dtype=np.float32).reshape(2, 12)
    flat = LinearDecoder(4).apply(
      {"params": {"kernel": kernel}}, np.eye(2, dtype=np.float32)
    )
    np.testing.assert_array_equal(flat, kernel)
    np.testing.assert_array_equal(
      unflatten_vertices(flat)[1, 2], [18.0, 19.0, 20.0]
    )

  def test_there_is_no_bias(self):
    params = LinearDecoder(4).init(
      jax.random.key(0), np.zeros((1, 2), np.float32)
    )["params"]
    self.assertEqual(set(params), {"kernel"})

  def test_integer_codes_are_refused(self):
    with self.assertRaisesRegex(TypeError, "codes: .*int32"):
      LinearDecoder(4).apply({"params": {}}, np.zeros((1, 2), np.int32))


if __name__ == "__main__":
  absltest.main()
