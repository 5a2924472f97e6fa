r"""Phase III with the identity component tied to the person's fitted shape.

What: the demo's joint phases with `identity_shape` at 1: L_R, but of the
identity shape. Not in the paper, whose weight is 0; it asks whether L_C then
still moves identity into the residual code.
Command: python -m experiments.train \
  --config=demo_identity_shape --workdir=<a folder> \
  --config.examples.path=<folder> \
  --config.init_from=<demo workdir>/export/decoders
"""

from ml_collections import ConfigDict

from experiments.configs import default, demo

WEIGHT = 1.0


def get_config() -> ConfigDict:
  """The demo's config, its two joint phases only, identity_shape 1."""
  config = demo.get_config()
  config.run_phases = default.JOINT
  config.export_phases = ()
  for name in config.run_phases:
    config.phases[name].weights.identity_shape = WEIGHT
  return config
