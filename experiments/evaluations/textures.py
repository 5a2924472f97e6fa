"""Features of texture to measure codes against, and to fuse them with."""

from collections.abc import Mapping
import functools

import numpy as np

from data_prep.faces.dlib_recogniser import NAME, DlibRecogniser
from disentangle3d.training.export import Network
from experiments.measures.codes import encode_trunk
from experiments.measures.verification import TRUNK, Describe
from experiments.sets.faces import Images

_TURN = 100


def textures_of(
  trunks: Mapping[str, Network], *, with_dlib: bool
) -> dict[str, Describe]:
  """What gives the features, by the names that tables print.

  Args:
    trunks: Networks whose trunks' own features are taken, by name.
    with_dlib: Whether dlib's feature is.

  Raises:
    UserModuleNotFoundError: dlib is asked for and not installed.
  """
  textures: dict[str, Describe] = {
    f"{TRUNK}, {name}": functools.partial(encode_trunk, network)
    for name, network in trunks.items()
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
