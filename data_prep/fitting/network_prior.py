"""What a network says of photos, as the means of their fits' prior."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import os
from typing import Any, cast

import jax
from jaxtyping import Float
import numpy as np

from data_prep.photos.crops import TEMPLATES, face_matrix, warp_crop
from data_prep.photos.photo_sets import read_photo
from data_prep.stages.folder import digest
from data_prep.stages.progress import progress
from data_prep.stages.rows import PhotoRow
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  closest_coefficients,
)
from disentangle3d.inference import encode
from disentangle3d.network.face_model import FaceModel
from disentangle3d.training.export import load_network
from disentangle3d.types import LATENT_SCALE, UserError

_BATCH = 64


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkPrior:
  """A network, and what its codes are in a 3DMM's coefficients.

  Attributes:
    model: The network.
    params: Its encoder's.
    identity: Coefficients of each of its codes, `[Z, I]`, and of the code 0,
      `[I]`, standard deviations.
    expression: Of its residual codes, `[R, E]`.
    name: Of the 3DMM it was trained with, and a digest of what it is.
    licences: Its terms, by name.
  """

  model: FaceModel
  params: dict[str, Any]
  identity: tuple[Float[np.ndarray, "Z I"], Float[np.ndarray, "I"]]
  expression: Float[np.ndarray, "R E"]
  name: str
  licences: dict[str, str]

  def means(
    self, rows: Sequence[PhotoRow]
  ) -> tuple[Float[np.ndarray, "P I"], Float[np.ndarray, "P E"]]:
    """Means of identity and expression of aligned photos, one at least.

    Raises:
      UserError: A photo cannot be read (any more).
    """
    with progress("the network looks", total=len(rows)) as update:
      codes = [
        jax.device_get(_encode(self.params, crops, model=self.model))
        for crops in self._crops(rows, update)
      ]
    identity = np.concatenate([code.identity for code in codes])[: len(rows)]
    residual = np.concatenate([code.residual for code in codes])[: len(rows)]
    return identity @ self.identity[0] + self.identity[1], (
      residual @ self.expression
    )

  def _crops(
    self, rows: Sequence[PhotoRow], update: Callable[[int], None]
  ) -> Iterator[np.ndarray]:
    """Crops as the network sees faces, `_BATCH` at a time, the last full."""
    template = self.model.template
    whole = TEMPLATES[template]
    for start in range(0, len(rows), _BATCH):
      crops = np.zeros((_BATCH, whole.height, whole.width, 3), np.uint8)
      for place, row in enumerate(rows[start : start + _BATCH]):
        photo = read_photo(row.image_path, most_megapixels=None)
        five = cast(np.ndarray, row.five_points)
        landmarks = np.asarray(row.landmarks, np.float32)
        matrix = face_matrix(landmarks, five, template)
        crops[place] = warp_crop(photo, matrix, whole)
        update(1)
      yield crops


_encode = jax.jit(encode, static_argnames="model")


def load_prior(
  path: str | os.PathLike[str], model: MorphableModel
) -> NetworkPrior:
  """A network as a prior of fits of a 3DMM.

  Args:
    path: As `load_network` takes it.
    model: What is fitted.

  Raises:
    UserFileNotFoundError: There is no network.
    UserError: It is damaged, or its faces have another mesh.
  """
  network = load_network(path)
  faces = network.as_morphable_model()
  if faces.num_vertices != model.num_vertices or not np.array_equal(
    faces.triangles, model.triangles
  ):
    raise UserError(
      f"--about: expected a network of the mesh of {model.name!r}, got one of"
      f" {network.name!r}"
    )
  identity = functools.partial(closest_coefficients, model.identity_basis)
  expression = functools.partial(closest_coefficients, model.expression_basis)
  content = digest(
    np.ascontiguousarray(leaf).tobytes()
    for leaf in jax.tree.leaves(network.params)
  )
  return NetworkPrior(
    model=network.model,
    params={"encoder": network.params["encoder"]},
    identity=(
      LATENT_SCALE * identity(_displacements(faces.identity_basis)),
      identity(np.asarray(faces.mean_shape) - np.asarray(model.mean_shape)),
    ),
    expression=LATENT_SCALE
    * expression(_displacements(faces.expression_basis)),
    name=f"{network.name}, sha256 {content[:16]}",
    licences={f"network of {network.name}": network.licence},
  )


def _displacements(
  basis: Float[np.ndarray | jax.Array, "V 3 C"],
) -> Float[np.ndarray, "C V 3"]:
  """Each mode's, by itself."""
  return np.moveaxis(np.asarray(basis), -1, 0)
