"""Features of texture to measure codes against, and to fuse them with."""

from collections.abc import Sequence
import functools

import numpy as np

from data_prep.faces.dlib_recogniser import NAME, DlibRecogniser
from data_prep.stages.flag_values import parse_all_named
from disentangle3d.training.export import load_network
from experiments.measures.codes import encode_trunk
from experiments.measures.verification import TRUNK, Describe
from experiments.sets.faces import Images

_TURN = 100


def read_textures(
  trunks: Sequence[str], *, with_dlib: bool
) -> dict[str, Describe]:
  """What gives the features, by the names that tables print.

  Args:
    trunks: `--trunk=NAME=PATH` or `PATH` flags: networks whose trunks' own
      features are taken.
    with_dlib: Whether dlib's feature is.

  Raises:
    UserError: A name or a path is empty, or a name comes twice.
    UserFileNotFoundError: There is no export.
    UserModuleNotFoundError: dlib is asked for and not installed.
  """
  textures: dict[str, Describe] = {
    f"{TRUNK}, {name}": functools.partial(encode_trunk, load_network(path))
    for name, path in parse_all_named("trunk", trunks).items()
  }
  if with_dlib:
    textures[NAME] = functools.partial(_describe_in_turns, DlibRecogniser())
  return textures


def _describe_in_turns(
  recogniser: DlibRecogniser, images: Images, *, mirrored: bool = False
) -> np.ndarray:
  parts = []
  for first in range(0, len(images), _TURN):
    crops = images[np.arange(first, min(first + _TURN, len(images)))]
    parts.append(recogniser.describe(crops[:, :, ::-1] if mirrored else crops))
  return np.concatenate(parts)
