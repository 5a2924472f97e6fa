"""Codes and shapes of faces: by a network, by the landmark fit, or by both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import os
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from data_prep.faces.found_faces import FoundFace
from data_prep.faces.network_locator import NAME as LANDMARK_NETWORK
from disentangle3d import inference
from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
  synthesize_shape,
  without_modes,
)
from disentangle3d.fitting.batched_fitting import fit_model, fit_subjects
from disentangle3d.fitting.batches import BatchShape
from disentangle3d.fitting.calibration_choice import AUTO, calibrated_model
from disentangle3d.fitting.options import ABOUT_A_NETWORK, FitOptions
from disentangle3d.training.export import SHIPPED, Network, load_network
from disentangle3d.types import LATENT_SCALE, Latents, UserError
from experiments.photographs.landmarks import crop_landmarks, has_landmarks
from experiments.photographs.skins import Layout, skin_layout

NETWORK, REFINED, FIT = METHODS = ("network", "refined", "fit")
# Batches of faces that programs are compiled for: most, and one by one.
_BATCHES = (8, 1)
_EACH_BY_ITSELF = BatchShape(images=1, subjects=8)
_COEFFICIENTS = ("identity_coefficients", "expression_coefficients")
# Of an identity that is settled.
_EXPRESSIONS_ALONE = dataclasses.replace(ABOUT_A_NETWORK, identity_std=1e-3)


@dataclasses.dataclass(frozen=True, eq=False)
class Codes:
  """What is known of N faces: the network's latents or a fit's coefficients.

  Attributes:
    identity: `[N, I]`.
    residual: `[N, E]`.
  """

  identity: Float[np.ndarray, "N I"]
  residual: Float[np.ndarray, "N E"]


@dataclasses.dataclass(frozen=True, eq=False)
class FaceMaker:
  """A method: faces to codes, codes to shapes on one topology.

  Attributes:
    name: One of `METHODS`.
    code_names: What the two codes are called in result.json.
    encode: Codes of faces, each by itself.
    pool: Codes of faces that are one person's, of which `encode` gave codes.
    sha256: Of all that decides them.
    decode: Full and identity shape, `[B, V, 3]`, of codes.
    mean_shape: `[V, 3]`, mm.
    triangles: `[F, 3]`.
    mean_face: Its mesh without modes, for where the landmarks are on it.
    mirror_vertices: `[V]` or None.
    provenance: Name, source and licence of the 3DMM.
    template: What the crops are aligned by that it sees.
  """

  name: str
  code_names: tuple[str, str]
  encode: Callable[[Sequence[FoundFace]], Codes]
  pool: Callable[[Sequence[FoundFace], Codes], Codes]
  sha256: str
  decode: Callable[[np.ndarray, np.ndarray], tuple[Array, Array]]
  mean_shape: Float[np.ndarray, "V 3"]
  triangles: Int[np.ndarray, "F 3"]
  mean_face: MorphableModel
  mirror_vertices: Int[np.ndarray, "V"] | None
  provenance: Mapping[str, Any]
  template: str = SPHEREFACE

  @functools.cached_property
  def layout(self) -> Layout:
    """How its faces are shown."""
    return skin_layout(self.mean_face)


def method_file(
  method: str, *, network: str | None, morphable_model: str | None
) -> str:
  """What `load_maker` reads of --network and --morphable_model.

  Args:
    method: One of `METHODS`.
    network: None is the one that ships.
    morphable_model: What `fit` fits.

  Raises:
    UserError: Nothing to fit.
  """
  if method != FIT:
    return network or str(SHIPPED)
  if not morphable_model:
    raise UserError("--morphable_model: expected with --method=fit")
  return morphable_model


def load_maker(
  method: str,
  path: str | os.PathLike[str],
  *,
  landmark_calibration: str = AUTO,
  detector: str = LANDMARK_NETWORK,
) -> FaceMaker:
  """A method from its file.

  Args:
    method: One of `METHODS`.
    path: The workdir or export of a network, or the 3DMM that is fitted.
    landmark_calibration: As `calibrated_model` takes it.
    detector: Whose landmarks those of the photos are.

  Raises:
    FileNotFoundError: There is no such file.
    ValueError: It is damaged, or the calibration is for another model.
  """
  calibrated = functools.partial(
    calibrated_model, asked=landmark_calibration, detectors={detector}
  )
  if method != FIT:
    network = load_network(path)
    make = refined_maker if method == REFINED else network_maker
    return make(network, calibrated(network.mean_face()))
  return fit_maker(calibrated(load_morphable_model(path)))


def network_maker(
  network: Network, mean_face: MorphableModel | None = None
) -> FaceMaker:
  """Faces by a trained network; one identity is the mean of codes.

  Args:
    network: The network.
    mean_face: Its mesh with another landmark calibration.
  """
  params = jax.tree.map(jnp.asarray, network.params)

  @jax.jit
  def run(params: Any, identity: Array, residual: Array) -> tuple[Array, Array]:
    codes = Latents(identity, residual)
    faces = inference.decode(params, codes, model=network.model)
    return faces.shape, faces.identity_shape

  @jax.jit
  def read(params: Any, crops: Array) -> Latents:
    return inference.encode(params, crops, model=network.model)

  def encode(faces: Sequence[FoundFace]) -> Codes:
    parts = []
    for rows in batch_rows(len(faces)):
      crops = np.stack([face.crop for face in faces[rows]])
      parts.append(jax.device_get(read(params, crops)))
    return Codes(
      np.concatenate([part.identity for part in parts]),
      np.concatenate([part.residual for part in parts]),
    )

  def pool(faces: Sequence[FoundFace], codes: Codes) -> Codes:
    mean = np.average(codes.identity, axis=0, weights=_pool_weights(faces))
    identity = np.repeat(mean[None], len(faces), 0).astype(np.float32)
    return Codes(identity, codes.residual)

  mean_face = mean_face or network.mean_face()
  return FaceMaker(
    name=NETWORK,
    code_names=("identity", "residual"),
    encode=encode,
    pool=pool,
    sha256=_digest(network.params, mean_face),
    decode=functools.partial(run, params),
    mean_shape=np.asarray(network.params["mean_shape"]),
    triangles=network.triangles,
    mean_face=mean_face,
    mirror_vertices=network.mirror_vertices,
    provenance=network.provenance,
    template=network.model.template,
  )


def refined_maker(
  network: Network, mean_face: MorphableModel | None = None
) -> FaceMaker:
  """Faces of the landmarks, about what a trained network says of them.

  The landmark fit of the network's own decoders, as a 3DMM, with its codes as
  the prior's means (`ABOUT_A_NETWORK`); a face without landmarks is as the
  network has it. One identity is the mean of several, with expressions fitted
  again.

  Args:
    network: The network.
    mean_face: Its mesh with another landmark calibration.
  """
  plain = network_maker(network, mean_face)
  model = network.as_morphable_model().replace(
    landmark_calibration=plain.mean_face.landmark_calibration
  )
  small = fit_model(model, moving_contour=False)

  def fit(
    faces: Sequence[FoundFace], about: Codes, options: FitOptions
  ) -> Codes:
    points, visibility = crop_landmarks(faces)
    fits = fit_subjects(
      small,
      points,
      visibility,
      np.arange(len(faces)),
      options=options,
      shapes=[_EACH_BY_ITSELF],
      identity_mean=about.identity,
      expression_mean=about.residual,
    )
    known = has_landmarks(faces)[:, None]
    return Codes(
      np.where(known, fits.identity_coefficients, about.identity),
      np.where(known, fits.expression_coefficients, about.residual),
    )

  def encode(faces: Sequence[FoundFace]) -> Codes:
    codes = plain.encode(faces)
    about = Codes(LATENT_SCALE * codes.identity, LATENT_SCALE * codes.residual)
    return fit(faces, about, ABOUT_A_NETWORK)

  def pool(faces: Sequence[FoundFace], codes: Codes) -> Codes:
    about = plain.pool(faces, codes)
    return Codes(about.identity, fit(faces, about, _EXPRESSIONS_ALONE).residual)

  def decode(identity: np.ndarray, residual: np.ndarray) -> tuple[Array, Array]:
    return plain.decode(identity / LATENT_SCALE, residual / LATENT_SCALE)

  return dataclasses.replace(
    plain,
    name=REFINED,
    code_names=_COEFFICIENTS,
    encode=encode,
    pool=pool,
    decode=decode,
  )


def fit_maker(model: MorphableModel) -> FaceMaker:
  """Faces by the landmark fit alone; one identity is fitted to all photos."""

  @jax.jit
  def run(
    model: MorphableModel, identity: Array, residual: Array
  ) -> tuple[Array, Array]:
    neutral = jnp.zeros_like(residual)
    return (
      synthesize_shape(model, identity, residual),
      synthesize_shape(model, identity, neutral),
    )

  def fit(
    faces: Sequence[FoundFace],
    subjects: np.ndarray,
    shapes: Sequence[BatchShape] | None = None,
  ) -> Codes:
    points, visibility = crop_landmarks(faces)
    fits = fit_subjects(
      model, points, visibility, subjects, options=FitOptions(), shapes=shapes
    )
    return Codes(fits.identity_coefficients, fits.expression_coefficients)

  mirror = model.mirror_vertices
  return FaceMaker(
    name=FIT,
    code_names=_COEFFICIENTS,
    # One program for any number of faces.
    encode=lambda faces: fit(faces, np.arange(len(faces)), [_EACH_BY_ITSELF]),
    pool=lambda faces, _: fit(faces, np.zeros(len(faces), int)),
    sha256=_digest(model),
    decode=functools.partial(run, jax.tree.map(jnp.asarray, model)),
    mean_shape=np.asarray(model.mean_shape),
    triangles=np.asarray(model.triangles),
    mean_face=without_modes(model),
    mirror_vertices=None if mirror is None else np.asarray(mirror),
    provenance=model.provenance,
  )


def batch_rows(count: int) -> Iterator[slice]:
  """Rows in batches of few sizes, which programs are compiled for."""
  start = 0
  while start < count:
    size = next(size for size in _BATCHES if size <= count - start)
    yield slice(start, start + size)
    start += size


def _digest(*trees: Any) -> str:
  content = hashlib.sha256()
  for leaf in jax.tree.leaves(trees):
    content.update(np.ascontiguousarray(leaf).tobytes())
  return content.hexdigest()


def _pool_weights(faces: Sequence[FoundFace]) -> Float[np.ndarray, "N"]:
  """What each face's code counts: the detector's score times its sharpness.

  Sharpness is 1 where the photo has a pixel for each of the crop's, and the
  share of pixels along a side where it has fewer.
  """
  scale = [
    float(np.hypot(face.crop_from_photo[0, 0], face.crop_from_photo[1, 0]))
    for face in faces
  ]
  scores = np.array([face.score for face in faces])
  return scores * np.minimum(1, 1 / np.array(scale))
