r"""Makes a network whose trunk is a published, trained recognition network.

    python -m data_prep.import_trunk --weights=sphere20a.pth \
      --output=runs/sphere20
    python -m experiments.train --config.init_from=runs/sphere20 ...

Reads SphereFace (the PyTorch port's files and the authors' Caffe models) and
MobileFaceNets for 112x96 crops (PyTorch's and Caffe's), whose batch norm is
folded into the trunk `mobile`'s kernels and biases. The output is an export as
training writes it: `load_params` and `--config.init_from` take it. Its two FC
layers on top of the trunk and its decoders are fresh.
"""

import pathlib

from absl import flags, logging

from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  define_morphable_model,
  define_output,
  define_path,
)
from data_prep.trunks.imported import import_trunk
from data_prep.trunks.layers import CHANNEL_ORDERS
from disentangle3d.faces.morphable_model import load_morphable_model


def define_flags() -> None:
  """Defines --weights, --output and what else the network consists of."""
  define_path(
    "weights",
    "The published file, what torch.save wrote or a .caffemodel.",
    required=True,
  )
  flags.DEFINE_string(
    "entry",
    None,
    "Which part of a checkpoint is the network, keys with dots between them;"
    " the mapping with the most tensors where it is not given.",
  )
  define_output()
  define_morphable_model(
    "The 3D morphable model that the network is to be trained with, an .npz of"
    " convert_morphable_model; the procedural model in the paper's sizes where"
    " it is not given."
  )
  flags.DEFINE_enum(
    "channels",
    None,
    list(CHANNEL_ORDERS),
    "The order of the colours that the weights were trained on; as published"
    " where it is not given: bgr for SphereFace and Caffe models, rgb for"
    " PyTorch's MobileFaceNets.",
  )
  flags.DEFINE_string(
    "licence",
    "not given",
    "The terms of use of the weights, which are kept with them.",
  )
  flags.DEFINE_integer("seed", 0, "Decides the layers that are fresh.")


def main() -> None:
  """Imports one file."""
  values = flags.FLAGS
  output = pathlib.Path(values.output)
  model = import_trunk(
    pathlib.Path(values.weights),
    output,
    values.morphable_model and load_morphable_model(values.morphable_model),
    entry=values.entry,
    channels=values.channels,
    licence=values.licence,
    seed=values.seed,
  )
  logging.info("Wrote %s: %s with a trained trunk.", output, model.trunk)


if __name__ == "__main__":
  command_line.run(main, define_flags)
