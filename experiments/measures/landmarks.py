"""How far the landmarks of predicted shapes are from those of photographs."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from disentangle3d.evaluation.rows import in_batches
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_mask,
  landmark_points,
  synthesize_shape,
)
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.geometry import project
from disentangle3d.inference import reconstruct
from disentangle3d.training.dataset import load_dataset_model, open_dataset
from disentangle3d.training.export import Network
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import decode_image
from experiments.sets.heldout import MEAN_SHAPE

FIT = "landmark fit, all photos of the person"
_BATCH = 50


@dataclasses.dataclass(frozen=True, eq=False)
class MarkedPhotos:
  """The held-out photos of a dataset.

  Attributes:
    images: Crops, `[P, 112, 96, 3]`.
    landmarks: As they were found, `[P, 68, 2]`, crop pixels.
    visibility: `[P, 68]`.
    fits: Identity and expression coefficients of the dataset's labels.
    model: Their 3DMM.
    people: Who is in each, `[P]`.
  """

  images: UInt8[np.ndarray, "P 112 96 3"]
  landmarks: Float[np.ndarray, "P 68 2"]
  visibility: Float[np.ndarray, "P 68"]
  fits: tuple[Float[np.ndarray, "P I"], Float[np.ndarray, "P E"]]
  model: MorphableModel
  people: Int[np.ndarray, "P"]


def marked_photos(dataset: str) -> MarkedPhotos:
  """The split heldout of a dataset of build_dataset or render_synthetic.

  Raises:
    UserError: A file is damaged, or there is no such split.
    UserFileNotFoundError: There is no dataset.
  """
  split = open_dataset(dataset, "heldout")
  records = RecordReader(split).read_records(range(split.num_records))

  def column(name: str) -> np.ndarray:
    return np.stack([record[name] for record in records])

  return MarkedPhotos(
    images=np.stack([decode_image(record["image"]) for record in records]),
    landmarks=column("landmarks"),
    visibility=column("visibility"),
    fits=(column("identity_coefficients"), column("expression_coefficients")),
    model=load_dataset_model(split),
    people=column("label"),
  )


def landmark_distances(
  photos: MarkedPhotos, networks: Mapping[str, Network]
) -> dict[str, Float[np.ndarray, "P"]]:
  """Root mean square distances of visible landmarks, crop pixels.

  Every method's shape is laid over the landmarks by `estimate_camera`.

  Args:
    photos: What was found.
    networks: By name.

  Returns:
    By method, `[P]`: the mean shape, the fit to these landmarks, networks.
  """
  model = jax.tree.map(jnp.asarray, photos.model)

  def measured(shapes: Callable[[np.ndarray], Array]) -> Float[np.ndarray, "P"]:
    distances: np.ndarray = in_batches(
      lambda rows: _distances(
        model,
        shapes(rows),
        jnp.asarray(photos.landmarks[rows]),
        jnp.asarray(photos.visibility[rows]),
      ),
      np.arange(len(photos.images)),
      _BATCH,
    )
    return distances

  identity, expression = photos.fits
  mean = model.mean_shape[None]
  found = {
    MEAN_SHAPE: measured(
      lambda rows: jnp.broadcast_to(mean, (len(rows), *mean.shape[1:]))
    ),
    FIT: measured(
      lambda rows: _synthesized(model, identity[rows], expression[rows])
    ),
  }
  for name, network in networks.items():
    params = jax.tree.map(jnp.asarray, network.params)
    found[name] = measured(
      functools.partial(_shapes, params, network, photos.images)
    )
  return found


def _shapes(
  params: dict[str, Any],
  network: Network,
  images: UInt8[np.ndarray, "P 112 96 3"],
  rows: Int[np.ndarray, "B"],
) -> Float[Array, "B V 3"]:
  face = _reconstruct(params, jnp.asarray(images[rows]), model=network.model)
  return face.shape


_reconstruct = jax.jit(reconstruct, static_argnames="model")
_synthesized = jax.jit(synthesize_shape)


@jax.jit
def _distances(
  model: MorphableModel,
  shapes: Float[Array, "B V 3"],
  landmarks: Float[Array, "B 68 2"],
  visibility: Float[Array, "B 68"],
) -> Float[Array, "B"]:
  points = landmark_points(model, shapes)
  weights = visibility * landmark_mask(model)[None]
  camera = estimate_camera(points, landmarks, weights)
  square = jnp.sum((project(camera, points) - landmarks) ** 2, -1)
  total = jnp.sum(weights * square, -1)
  return jnp.sqrt(total / jnp.maximum(jnp.sum(weights, -1), 1))
