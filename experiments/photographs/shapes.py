"""Codes, shapes and cameras of faces: by a network, or by the landmark fit."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import os
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from data_prep.faces.dlib_locator import NAME as DLIB
from data_prep.faces.found_faces import FoundFace
from disentangle3d import inference
from disentangle3d.evaluation.rows import equal_batches
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_mask,
  landmark_points,
  load_morphable_model,
  synthesize_shape,
  without_modes,
)
from disentangle3d.faces.rendering import render, vertex_visibility
from disentangle3d.faces.shading import vertex_normals
from disentangle3d.fitting.batched_fitting import fit_subjects
from disentangle3d.fitting.calibration_choice import AUTO, calibrated_model
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.fitting.landmark_fitting import FitOptions
from disentangle3d.geometry import (
  Camera,
  apply_affine,
  five_points,
  invert_affine,
  project,
  similarity_2d,
  transform_camera,
)
from disentangle3d.training.export import Network, load_network
from disentangle3d.types import (
  CROP_TEMPLATE,
  IMAGE_HEIGHT,
  IMAGE_WIDTH,
  Latents,
)

# The maps show the crop and so many of its pixels around it (the chin is often
# below), enlarged so many times.
_MAP_MARGIN_PX = 24
_MAP_SCALE = 3
_MAP_SHIFT = _MAP_SCALE * _MAP_MARGIN_PX + (_MAP_SCALE - 1) / 2
MAP_FROM_CROP = np.array(
  [[_MAP_SCALE, 0, _MAP_SHIFT], [0, _MAP_SCALE, _MAP_SHIFT]], np.float32
)
_LEAST_LANDMARKS = 8
_BATCH = 8


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
  """

  name: str
  code_names: tuple[str, str]
  encode: Callable[[Sequence[FoundFace]], Codes]
  pool: Callable[[Sequence[FoundFace], Codes], Codes]
  sha256: str
  decode: Callable[[Array, Array], tuple[Array, Array]]
  mean_shape: Float[np.ndarray, "V 3"]
  triangles: Int[np.ndarray, "F 3"]
  mean_face: MorphableModel
  mirror_vertices: Int[np.ndarray, "V"] | None
  provenance: Mapping[str, Any]


def load_maker(
  method: str,
  path: str | os.PathLike[str],
  *,
  landmark_calibration: str = AUTO,
  detector: str = DLIB,
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
    for rows in equal_batches(np.arange(len(faces)), _BATCH):
      crops = np.stack([faces[row].crop for row in rows])
      parts.append(jax.device_get(read(params, crops)))
    identity = np.concatenate([part.identity for part in parts])[: len(faces)]
    residual = np.concatenate([part.residual for part in parts])[: len(faces)]
    return Codes(identity, residual)

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

  def fit(faces: Sequence[FoundFace], subjects: np.ndarray) -> Codes:
    points, visibility = crop_landmarks(faces)
    fits = fit_subjects(
      model, points, visibility, subjects, options=FitOptions()
    )
    return Codes(fits.identity_coefficients, fits.expression_coefficients)

  mirror = model.mirror_vertices
  return FaceMaker(
    name="fit",
    code_names=("identity_coefficients", "expression_coefficients"),
    encode=lambda faces: fit(faces, np.arange(len(faces))),
    pool=lambda faces, _: fit(faces, np.zeros(len(faces), int)),
    sha256=_digest(model),
    decode=functools.partial(run, jax.tree.map(jnp.asarray, model)),
    mean_shape=np.asarray(model.mean_shape),
    triangles=np.asarray(model.triangles),
    mean_face=without_modes(model),
    mirror_vertices=None if mirror is None else np.asarray(mirror),
    provenance=model.provenance,
  )


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
      matrix = jnp.asarray(face.crop_from_photo)
      points[row] = apply_affine(matrix, jnp.asarray(face.landmarks))
  return points, np.stack([face.visibility for face in faces])


def has_camera(faces: Sequence[FoundFace]) -> Bool[np.ndarray, "N"]:
  """Whether enough landmarks are visible to say how the head is turned."""
  return np.array(
    [np.sum(face.visibility > 0) >= _LEAST_LANDMARKS for face in faces]
  )


def photo_cameras(
  maker: FaceMaker, codes: Codes, faces: Sequence[FoundFace]
) -> Camera:
  """Cameras in photo pixels; where `has_camera` says no, the front.

  Args:
    maker: The method.
    codes: Of the faces.
    faces: N of them.

  Returns:
    Cameras, `[N]`, host arrays.
  """
  landmarks, visibility = crop_landmarks(faces)
  visibility = visibility * np.asarray(landmark_mask(maker.mean_face))[None]
  known = has_camera(faces)
  parts = []
  for rows in equal_batches(np.arange(len(faces)), _BATCH):
    shape, _ = maker.decode(codes.identity[rows], codes.residual[rows])
    cameras = _crop_cameras(
      landmark_points(maker.mean_face, shape),
      landmarks[rows],
      visibility[rows],
      known[rows],
    )
    parts.append(jax.tree.map(np.asarray, cameras))
  crop = jax.tree.map(
    lambda *leaves: jnp.asarray(np.concatenate(leaves)[: len(faces)]), *parts
  )
  matrices = jnp.stack([jnp.asarray(face.crop_from_photo) for face in faces])
  cameras = transform_camera(crop, invert_affine(matrices))
  return jax.tree.map(np.asarray, cameras)


@dataclasses.dataclass(frozen=True, eq=False)
class Maps:
  """What a camera sees of a face, in the pixels of `MAP_FROM_CROP`.

  Attributes:
    shape: `[V, 3]`, mm.
    identity_shape: `[V, 3]`, mm.
    depth_mm: Towards the viewer, NaN where nothing is, `[480, 432]`.
    normals: In camera axes, unit length, 0 where nothing is, `[480, 432, 3]`.
    seen: Which vertices the camera sees, `[V]`.
  """

  shape: Float[np.ndarray, "V 3"]
  identity_shape: Float[np.ndarray, "V 3"]
  depth_mm: Float[np.ndarray, "H W"]
  normals: Float[np.ndarray, "H W 3"]
  seen: Bool[np.ndarray, "V"]


def face_maps(
  maker: FaceMaker, codes: Codes, cameras: Camera, faces: Sequence[FoundFace]
) -> list[Maps]:
  """Shapes and maps of some faces; one program for any number."""
  made = []
  for rows in equal_batches(np.arange(len(faces)), _BATCH):
    shape, identity_shape = maker.decode(
      codes.identity[rows], codes.residual[rows]
    )
    matrices = np.stack([faces[row].crop_from_photo for row in rows])
    camera = jax.tree.map(lambda leaf, r=rows: jnp.asarray(leaf[r]), cameras)
    depth, normals, seen = jax.device_get(
      _maps(shape, maker.triangles, camera, jnp.asarray(matrices))
    )
    for place in range(min(_BATCH, len(faces) - rows[0])):
      made.append(
        Maps(
          shape=np.asarray(shape[place]),
          identity_shape=np.asarray(identity_shape[place]),
          depth_mm=depth[place],
          normals=normals[place],
          seen=seen[place],
        )
      )
  return made


@jax.jit
def _crop_cameras(
  points: Array, landmarks: Array, visibility: Array, known: Array
) -> Camera:
  found = estimate_camera(points, landmarks, visibility)
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

  def choose(one: Array, other: Array) -> Array:
    return jnp.where(known.reshape(-1, *(1,) * (one.ndim - 1)), one, other)

  return jax.tree.map(choose, found, front)


@jax.jit
def _maps(
  shape: Array, triangles: Array, camera: Camera, crop_from_photo: Array
) -> tuple[Array, Array, Array]:
  to_crop = transform_camera(camera, crop_from_photo)
  large = transform_camera(
    to_crop, jnp.broadcast_to(MAP_FROM_CROP[None], crop_from_photo.shape)
  )
  drawn = render(
    shape,
    triangles,
    large,
    height=_MAP_SCALE * (IMAGE_HEIGHT + 2 * _MAP_MARGIN_PX),
    width=_MAP_SCALE * (IMAGE_WIDTH + 2 * _MAP_MARGIN_PX),
  )
  normals = jnp.einsum(
    "bij,bvj->bvi", large.rotation, vertex_normals(shape, triangles)
  )
  covered = drawn.triangle_index >= 0
  corners = triangles[jnp.maximum(drawn.triangle_index, 0)]
  at = jax.vmap(lambda values, where: values[where])(normals, corners)
  normal = jnp.sum(drawn.barycentrics[..., None] * at, -2)
  length = jnp.sqrt(jnp.sum(normal * normal, -1, keepdims=True))
  normal = jnp.where(covered[..., None], normal / jnp.maximum(length, 1e-6), 0)
  depth = jnp.where(covered, drawn.depth, jnp.nan)
  return depth, normal, vertex_visibility(drawn, shape, triangles, large)
