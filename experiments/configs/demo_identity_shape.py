r"""Phase III with the identity component tied to the person's fitted shape.

What: the demo's joint phases with the paper's losses and `identity_shape` at 1:
L_R, but of the identity shape. It asks whether L_C then still moves identity
into the residual code.
Command: python -m experiments.train \
  --config=demo_identity_shape --workdir=<a folder> \
  --config.examples.path=<folder> \
  --config.init_from=<demo workdir>/export/decoders
"""

from ml_collections import ConfigDict

from experiments.configs import default, demo

WEIGHT = 1.0


def get_config() -> ConfigDict:
  """Two joint phases only, the paper's losses, identity_shape 1."""
  config = demo.paper_losses()
  config.run_phases = default.JOINT
  config.export_phases = ()
  for name in config.run_phases:
    config.phases[name].weights.identity_shape = WEIGHT
  return config
