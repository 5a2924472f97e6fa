"""MobileFaceNets as published: random weights, and the network written out."""

import numpy as np

# Expanded by, channels out, bottlenecks, stride of the first; Chen et al. 2018,
# table 1, as the ports list it.
_SETTING = (
  (2, 64, 5, 2),
  (4, 128, 1, 2),
  (2, 128, 6, 1),
  (4, 128, 1, 2),
  (2, 128, 2, 1),
)
EPSILON = 1e-5


def bottlenecks():
  """In, inside, out and stride of each."""
  before = 64
  for factor, width, count, stride in _SETTING:
    for place in range(count):
      yield before, before * factor, width, stride if place == 0 else 1
      before = width


def modules(feature: int = 128, map_size: tuple[int, int] = (7, 6)):
  """Convolution, batch norm and PReLU of every layer by the ports' names.

  Name of the convolution, its shape, name of the norm, name of the PReLU.
  """
  yield "conv1.conv", (64, 3, 3, 3), "conv1.bn", "conv1.prelu"
  yield "dw_conv1.conv", (64, 1, 3, 3), "dw_conv1.bn", "dw_conv1.prelu"
  for number, (before, inside, after, _) in enumerate(bottlenecks()):
    at = f"blocks.{number}.conv"
    yield f"{at}.0", (inside, before, 1, 1), f"{at}.1", f"{at}.2"
    yield f"{at}.3", (inside, 1, 3, 3), f"{at}.4", f"{at}.5"
    yield f"{at}.6", (after, inside, 1, 1), f"{at}.7", None
  yield "conv2.conv", (512, 128, 1, 1), "conv2.bn", "conv2.prelu"
  yield "linear7.conv", (512, 1, *map_size), "linear7.bn", None
  yield "linear1.conv", (feature, 512, 1, 1), "linear1.bn", None


def random_weights(**sizes) -> dict[str, np.ndarray]:
  """Every array away from where it could go missing unseen."""
  rng = np.random.default_rng(0)
  weights = {}
  for convolution, shape, norm, slope in modules(**sizes):
    width, spread = shape[0], 1 / np.sqrt(np.prod(shape[1:]))
    weights[f"{convolution}.weight"] = rng.normal(0, spread, shape)
    weights[f"{norm}.weight"] = rng.uniform(0.5, 1.5, width)
    weights[f"{norm}.bias"] = rng.normal(0, 0.3, width)
    weights[f"{norm}.running_mean"] = rng.normal(0, 0.3, width)
    # Some so small that epsilon counts.
    weights[f"{norm}.running_var"] = rng.uniform(0.3, 2, width)
    weights[f"{norm}.running_var"][:8] = 1e-4
    weights[f"{norm}.weight"][:8] *= 1e-2
    weights[f"{norm}.num_batches_tracked"] = np.array(7)
    if slope:
      weights[f"{slope}.weight"] = rng.uniform(0, 0.5, width)
  return {name: array.astype(np.float32) for name, array in weights.items()}


def insightface_names():
  """The same layers' names in insightface's file, in the same order."""

  def block(at, *, active=True):
    slope = f"{at}.layers.2" if active else None
    return f"{at}.layers.0", f"{at}.layers.1", slope

  def depthwise(at):
    return [
      block(f"{at}.layers.0"),
      block(f"{at}.layers.1"),
      block(f"{at}.layers.2", active=False),
    ]

  def residual(at, count):
    return [
      name for n in range(count) for name in depthwise(f"{at}.layers.{n}")
    ]

  return [
    block("layers.0"),
    block("layers.1"),
    *depthwise("layers.2"),
    *residual("layers.3", 4),
    *depthwise("layers.4"),
    *residual("layers.5", 6),
    *depthwise("layers.6"),
    *residual("layers.7", 2),
    block("conv_sep"),
    block("features.layers.0", active=False),
    ("features.layers.2", "features.layers.3", None),
  ]


def as_insightface(weights) -> dict[str, np.ndarray]:
  """The same network under insightface's names."""
  renamed = {}
  for (*names, _), new in zip(
    ((c, n, s, shape) for c, shape, n, s in modules()),
    insightface_names(),
    strict=True,
  ):
    for old_stem, new_stem in zip(names, new, strict=True):
      for name, array in weights.items():
        stem, _, part = name.rpartition(".")
        if stem == old_stem:
          renamed[f"{new_stem}.{part}"] = array
  kernel = renamed["features.layers.2.weight"]
  return renamed | {"features.layers.2.weight": kernel[:, :, 0, 0]}


def caffe_names():
  """The same layers' names in the Caffe models, in the same order."""
  yield "conv1"
  yield "conv1_dw"
  for stage, count in ((2, 5), (3, 7), (4, 3)):
    for place in range(count):
      at = f"conv{stage}_{place}" if place else f"conv{stage}"
      for part in ("ex", "dw", "em"):
        yield f"{at}_{part}"
  yield from ("conv5_ex", "conv5_dw", "fc5")


def as_caffe(weights, count: float = 2.0) -> dict[str, list[np.ndarray]]:
  """The same network as a Caffe model's layers with their blobs.

  Args:
    weights: Of `random_weights`; the last norm's factor and shift are left out.
    count: What the norms' sums are to be divided by.
  """
  layers = {}
  for (convolution, _, norm, slope), name in zip(
    modules(), caffe_names(), strict=True
  ):
    layers[name] = [weights[f"{convolution}.weight"]]
    layers[f"{name}/bn"] = [
      *(
        weights[f"{norm}.{part}"] * np.float32(count)
        for part in ("running_mean", "running_var")
      ),
      np.array([count], np.float32),
    ]
    layers[f"{name}/scale"] = [
      weights[f"{norm}.{part}"] for part in ("weight", "bias")
    ]
    if slope:
      layers[name.replace("conv", "relu")] = [weights[f"{slope}.weight"]]
  del layers["fc5/scale"]
  layers["fc5"] = [layers["fc5"][0][:, :, 0, 0]]
  return layers


def numpy_network(weights, images) -> np.ndarray:
  """Features in float64, channel-first, with the batch norm as it is."""

  def convolved(x, kernel, stride):
    groups, size = kernel.shape[1] == 1, kernel.shape[2:]
    if size == (1, 1):
      return np.einsum("oc,bchw->bohw", kernel[:, :, 0, 0], x)
    if size == (7, 6):
      return np.einsum("chw,bchw->bc", kernel[:, 0], x)[:, :, None, None]
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = 0
    for i in range(3):
      for j in range(3):
        seen = padded[:, :, i : i + height : stride, j : j + width : stride]
        taken = kernel[:, :, i, j]
        out = out + (
          seen * taken.reshape(1, -1, 1, 1)
          if groups
          else np.einsum("oc,bchw->bohw", taken, seen)
        )
    return out

  def part(name):
    return weights[name].astype(np.float64).reshape(1, -1, 1, 1)

  def layer(x, names, stride=1):
    convolution, _, norm, slope = names
    x = convolved(
      x, weights[f"{convolution}.weight"].astype(np.float64), stride
    )
    x = (x - part(f"{norm}.running_mean")) / np.sqrt(
      part(f"{norm}.running_var") + EPSILON
    )
    x = x * part(f"{norm}.weight") + part(f"{norm}.bias")
    return np.where(x > 0, x, part(f"{slope}.weight") * x) if slope else x

  layers = iter(modules())
  x = (images.transpose(0, 3, 1, 2) - 127.5) / 128
  x = layer(layer(x, next(layers), 2), next(layers))
  for before, _, after, stride in bottlenecks():
    inner = layer(x, next(layers))
    inner = layer(inner, next(layers), stride)
    inner = layer(inner, next(layers))
    x = x + inner if before == after and stride == 1 else inner
  for names in layers:
    x = layer(x, names)
  return x[:, :, 0, 0]


def torch_network(weights, images) -> np.ndarray:
  """The same made of PyTorch's modules, in float32."""
  import torch
  from torch import nn

  tensors = {name: torch.from_numpy(array) for name, array in weights.items()}

  def layer(names, stride=1):
    convolution, shape, norm, slope = names
    depthwise, size = shape[1] == 1, shape[2:]
    made = [
      nn.Conv2d(
        shape[0] if depthwise else shape[1],
        shape[0],
        size,
        stride,
        1 if size == (3, 3) else 0,
        groups=shape[0] if depthwise else 1,
        bias=False,
      ),
      nn.BatchNorm2d(shape[0]),
    ] + ([nn.PReLU(shape[0])] if slope else [])
    for module, stem in zip(made, (convolution, norm, slope), strict=False):
      module.load_state_dict(
        {name: tensors[f"{stem}.{name}"] for name in module.state_dict()}
      )
    return nn.Sequential(*made).eval()

  layers = iter(modules())
  x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))
  x = (x - 127.5) / 128
  with torch.no_grad():
    x = layer(next(layers), 2)(x)
    x = layer(next(layers))(x)
    for before, _, after, stride in bottlenecks():
      inner = layer(next(layers))(x)
      inner = layer(next(layers), stride)(inner)
      inner = layer(next(layers))(inner)
      x = x + inner if before == after and stride == 1 else inner
    for names in layers:
      x = layer(names)(x)
  return x.flatten(1).numpy()
