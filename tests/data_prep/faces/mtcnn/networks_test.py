from absl.testing import absltest
import jax.numpy as jnp
import numpy as np

from data_prep.faces.mtcnn.networks import pnet, pnet_map_size, prepare_weights
from data_prep.faces.mtcnn.weights import NETWORKS, weight_shapes


def _weights() -> dict[str, dict[str, np.ndarray]]:
  rng = np.random.default_rng(0)
  return {
    name: {
      key: (0.3 * rng.normal(size=shape)).astype(np.float32)
      for key, shape in weight_shapes(name).items()
    }
    for name in NETWORKS
  }


def _convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray):
  size = kernel.shape[0]
  out = np.zeros(
    (x.shape[0] - size + 1, x.shape[1] - size + 1, kernel.shape[-1])
  )
  for i, j in np.ndindex(size, size):
    part = x[i : i + out.shape[0], j : j + out.shape[1]]
    out += part @ kernel[i, j]
  return out + bias


def _prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
  return np.maximum(x, 0) + slope.reshape(-1) * np.minimum(x, 0)


def _pool(x: np.ndarray) -> np.ndarray:
  """The maximum over 2 x 2; a last odd row or column by itself."""
  rows, columns = -(-x.shape[0] // 2), -(-x.shape[1] // 2)
  out = np.empty((rows, columns, x.shape[2]))
  for i, j in np.ndindex(rows, columns):
    out[i, j] = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1))
  return out


def _plain_pnet(weights: dict[str, np.ndarray], image: np.ndarray):
  x = image.astype(np.float64)
  for layer in ("conv1", "conv2", "conv3"):
    x = _convolve(x, weights[layer], weights[f"{layer}_bias"])
    x = _prelu(x, weights[f"{layer}_slope"])
    if layer == "conv1":
      x = _pool(x)
  face = _convolve(x, weights["face"], weights["face_bias"])
  score = 1 / (1 + np.exp(face[..., 0] - face[..., 1]))
  return score, _convolve(x, weights["box"], weights["box_bias"])


class PnetTest(absltest.TestCase):
  def test_it_is_the_plain_network_on_each_picture_in_an_image(self):
    weights = _weights()["pnet"]
    rng = np.random.default_rng(1)
    images = rng.normal(size=(2, 48, 48, 3)).astype(np.float32)
    inside = np.zeros((2, 48, 48), bool)
    # Row, top, left, height, width: odd sizes and even, at even places.
    pictures = [(0, 0, 0, 19, 26), (0, 20, 4, 28, 31), (1, 36, 36, 12, 12)]
    pictures += [(1, 0, 0, 35, 48), (1, 36, 0, 11, 20)]
    for row, top, left, height, width in pictures:
      inside[row, top : top + height - 2, left : left + width - 2] = True
    prepared = prepare_weights(_weights())["pnet"]
    score, box = pnet(prepared, jnp.asarray(images), jnp.asarray(inside))
    self.assertEqual(score.shape, (2, pnet_map_size(48), pnet_map_size(48)))
    for row, top, left, height, width in pictures:
      picture = images[row, top : top + height, left : left + width]
      expected, offsets = _plain_pnet(weights, picture)
      rows = slice(top // 2, top // 2 + pnet_map_size(height))
      columns = slice(left // 2, left // 2 + pnet_map_size(width))
      np.testing.assert_allclose(score[row, rows, columns], expected, atol=1e-4)
      np.testing.assert_allclose(box[row, rows, columns], offsets, atol=1e-3)


if __name__ == "__main__":
  absltest.main()
