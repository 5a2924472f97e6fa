"""Writes the photos of a set, for other methods to work on."""

from collections.abc import Sequence
import pathlib

from jaxtyping import UInt8
import numpy as np

from disentangle3d.output_files import new_folder
from disentangle3d.reporting.pictures import picture_png


def write_crops(
  folder: str | None,
  name: str,
  names: Sequence[str],
  images: UInt8[np.ndarray, "P 112 96 3"],
) -> None:
  """Writes `<folder>/<name>/<photo>.png`.

  Args:
    folder: Of all sets; None writes nothing.
    name: Of the set.
    names: Of its photos, as meshes are looked for.
    images: The crops, `[P, 112, 96, 3]`.
  """
  if folder is None:
    return
  with new_folder(pathlib.Path(folder) / name) as partial:
    for photo, image in zip(names, images, strict=True):
      path = partial / f"{photo}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(picture_png(image))
