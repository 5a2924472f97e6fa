r"""Makes a network whose trunk is a published, trained SphereFace.

    python -m data_prep.import_sphereface --weights=sphere20a.pth \
      --output=runs/sphere20
    python -m experiments.train --config.init_from=runs/sphere20 ...

Reads the PyTorch port's state dict (`conv1_1.weight`, `relu1_1.weight`, ...,
`fc5.weight`) and the authors' Caffe models, whose layers have the same names
(`conv1_1`, `relu1_1`, ..., `fc5`). The output is an export as training writes
it: `load_params` and `--config.init_from` take it. Its two FC layers on top
of the trunk and its decoders are fresh.
"""

import pathlib

from absl import flags, logging

from data_prep.stages import command_line
from data_prep.stages.flag_words import (
  define_morphable_model,
  define_output,
  define_path,
)
from data_prep.trunks.sphereface import CHANNEL_ORDERS, import_sphereface
from disentangle3d.faces.morphable_model import load_morphable_model


def define_flags() -> None:
  """Defines --weights, --output and what else the network consists of."""
  define_path(
    "weights",
    "The published file, a .pth of the PyTorch port or a .caffemodel.",
    required=True,
  )
  define_output()
  define_morphable_model(
    "The 3D morphable model that the network is to be trained with, an .npz of"
    " convert_morphable_model; the procedural model in the paper's sizes where"
    " it is not given."
  )
  flags.DEFINE_enum(
    "channels",
    "bgr",
    list(CHANNEL_ORDERS),
    "The order of the colours that the weights were trained on.",
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
  model = import_sphereface(
    pathlib.Path(values.weights),
    output,
    values.morphable_model and load_morphable_model(values.morphable_model),
    channels=values.channels,
    licence=values.licence,
    seed=values.seed,
  )
  logging.info("Wrote %s: %s with a trained trunk.", output, model.trunk)


if __name__ == "__main__":
  command_line.run(main, define_flags)
