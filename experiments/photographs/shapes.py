"""Codes, shapes and cameras of faces: by a network, or by the landmark fit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import os
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from data_prep.faces.found_faces import FoundFace
from data_prep.faces.network_locator import NAME as LANDMARK_NETWORK
from disentangle3d import inference
from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_mask,
  landmark_points,
  load_morphable_model,
  synthesize_shape,
  without_modes,
)
from disentangle3d.fitting.batched_fitting import fit_subjects
from disentangle3d.fitting.batches import BatchShape
from disentangle3d.fitting.calibration_choice import AUTO, calibrated_model
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.geometry import (
  Camera,
  five_points,
  invert_affine,
  project,
  similarity_2d,
  transform_camera,
)
from disentangle3d.training.export import SHIPPED, Network, load_network
from disentangle3d.types import CROP_TEMPLATE, Latents, UserError
from experiments.photographs.skins import Layout, skin_layout

_LEAST_LANDMARKS = 8
# Batches of faces that programs are compiled for: most, and one by one.
_BATCHES = (8, 1)
_EACH_BY_ITSELF = BatchShape(images=1, subjects=8)


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
    name: `network` or `fit`.
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
    method: `network` or `fit`.
    network: None is the one that ships.
    morphable_model: What `fit` fits.

  Raises:
    UserError: Nothing to fit.
  """
  if method == "network":
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
    method: `network` or `fit`.
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
  if method == "network":
    network = load_network(path)
    return network_maker(network, calibrated(network.mean_face()))
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
    for rows in _batches(len(faces)):
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
    name="network",
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
    name="fit",
    code_names=("identity_coefficients", "expression_coefficients"),
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


def _batches(count: int) -> Iterator[slice]:
  """Rows in batches of few sizes."""
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


def crop_landmarks(
  faces: Sequence[FoundFace],
) -> tuple[Float[np.ndarray, "N 68 2"], Float[np.ndarray, "N 68"]]:
  """Landmarks in crop pixels (zeros where none) and their visibility."""
  points = np.zeros((len(faces), 68, 2), np.float32)
  for row, face in enumerate(faces):
    if face.landmarks is not None:
      points[row] = _in_crop(face, face.landmarks)
  return points, np.stack([face.visibility for face in faces])


def _in_crop(face: FoundFace, points: np.ndarray) -> np.ndarray:
  matrix = face.crop_from_photo
  return points @ matrix[:, :2].T + matrix[None, :, 2]


def has_landmarks(faces: Sequence[FoundFace]) -> Bool[np.ndarray, "N"]:
  """Whether enough landmarks are visible to say how the head is turned."""
  return np.array(
    [np.sum(face.visibility > 0) >= _LEAST_LANDMARKS for face in faces], bool
  )


def camera_source(face: FoundFace) -> str | None:
  """What a face's camera comes from; None where there is nothing."""
  if has_landmarks([face])[0]:
    return "68 landmarks"
  return None if face.five_points is None else "five points"


def photo_cameras(
  maker: FaceMaker, codes: Codes, faces: Sequence[FoundFace]
) -> Camera:
  """Cameras in photo pixels, by `camera_source`; by nothing, the front.

  Args:
    maker: The method.
    codes: Of the faces.
    faces: N of them.

  Returns:
    Cameras, `[N]`, host arrays.
  """
  landmarks, visibility = crop_landmarks(faces)
  five = np.zeros((len(faces), 5, 2), np.float32)
  for row, face in enumerate(faces):
    if face.five_points is not None:
      five[row] = _in_crop(face, face.five_points)
  known = np.array([camera_source(face) is not None for face in faces])
  parts = []
  for rows in _batches(len(faces)):
    shape, _ = maker.decode(codes.identity[rows], codes.residual[rows])
    cameras = _photo_cameras(
      maker.mean_face,
      shape,
      landmarks[rows],
      visibility[rows],
      five[rows],
      has_landmarks(faces[rows]),
      known[rows],
      np.stack([face.crop_from_photo for face in faces[rows]]),
    )
    parts.append(jax.device_get(cameras))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@jax.jit
def _photo_cameras(
  mean_face: MorphableModel,
  shape: Array,
  landmarks: Array,
  visibility: Array,
  five: Array,
  many: Array,
  known: Array,
  crop_from_photo: Array,
) -> Camera:
  """Cameras of landmarks in crops, or of five points, in photo pixels."""
  points = landmark_points(mean_face, shape)
  by_landmarks = estimate_camera(
    points, landmarks, visibility * landmark_mask(mean_face)[None]
  )
  by_five = estimate_camera(
    five_points(points), five, jnp.ones(five.shape[:2], jnp.float32)
  )
  batch = len(points)
  plain = Camera(
    scale=jnp.ones(batch, jnp.float32),
    rotation=jnp.broadcast_to(
      jnp.eye(3, dtype=jnp.float32)[None], (batch, 3, 3)
    ),
    translation=jnp.zeros((batch, 2), jnp.float32),
  )
  template = jnp.broadcast_to(jnp.asarray(CROP_TEMPLATE)[None], (batch, 5, 2))
  front = transform_camera(
    plain, similarity_2d(five_points(project(plain, points)), template)
  )

  def choose(where: Array, one: Camera, other: Camera) -> Camera:
    return jax.tree.map(
      lambda a, b: jnp.where(where.reshape(-1, *(1,) * (a.ndim - 1)), a, b),
      one,
      other,
    )

  found = choose(many, by_landmarks, choose(known, by_five, front))
  return transform_camera(found, invert_affine(crop_from_photo))
