"""What training hands on: a folder that says what it is.

    face_model.json   FaceModel's fields, 3DMM provenance and licence; written
                      last, so that a folder with it is whole
    params.npz        the network's params, "encoder/trunk/conv1_1/kernel"
    topology.npz      triangles, landmark_vertices, mirror_vertices, the
                      landmarks' calibration

The identity head serves training only and is never in it. Params may be stored
in half precision: they are float32 once loaded.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

import flax.struct
import flax.traverse_util
import jax
from jaxtyping import Float, Int
import numpy as np

from disentangle3d.crop_templates import TEMPLATES
from disentangle3d.faces.landmark_calibration import (
  LandmarkCalibration,
  read_stored_calibration,
  stored_calibration,
)
from disentangle3d.faces.morphable_model import (
  PROVENANCE,
  MorphableModel,
  validate_morphable_model,
)
from disentangle3d.input_files import read_npz
from disentangle3d.network.face_model import FaceModel
from disentangle3d.output_files import replace_file, replace_npz
from disentangle3d.training.phases import HEAD
from disentangle3d.types import (
  LATENT_SCALE,
  UserError,
  UserFileNotFoundError,
  check_choice,
)

FOLDER = "export"
SHIPPED = pathlib.Path(__file__).parent.parent / "networks" / "start"
ABOUT, _PARAMS, _TOPOLOGY = "face_model.json", "params.npz", "topology.npz"
_FORMAT = "disentangle3d network, version 1"


@flax.struct.dataclass
class Network:
  """A trained network and the mesh its shapes live on.

  Attributes:
    model: What the params belong to.
    params: Its top-level entries, NumPy arrays: `encoder`, the two decoders,
      `mean_shape` `[V, 3]` in mm.
    triangles: Vertex indices, `[F, 3]` int32.
    landmark_vertices: Vertex of each iBUG landmark, `[68]` int32; -1 where the
      mesh has no such point.
    mirror_vertices: The vertex at each vertex's mirror image, `[V]` int32, or
      None where the mesh has no such map.
    landmark_calibration: Where a detector marks the landmarks on the mesh, or
      None.
    name: Of the 3DMM that it was trained with.
    source: Where that 3DMM comes from.
    licence: Terms of use of that 3DMM, which hold for the params as well.
    phase: The phase of training that it comes out of.
  """

  model: FaceModel = flax.struct.field(pytree_node=False)
  params: dict[str, Any]
  triangles: Int[np.ndarray, "F 3"]
  landmark_vertices: Int[np.ndarray, "68"]
  mirror_vertices: Int[np.ndarray, "V"] | None = None
  landmark_calibration: LandmarkCalibration | None = None
  name: str = flax.struct.field(pytree_node=False, default="unnamed")
  source: str = flax.struct.field(pytree_node=False, default="unknown")
  licence: str = flax.struct.field(pytree_node=False, default="unknown")
  phase: str = flax.struct.field(pytree_node=False, default="")

  @property
  def provenance(self) -> dict[str, str]:
    """Name, source and licence, as `MorphableModel.provenance`."""
    return {text: getattr(self, text) for text in PROVENANCE}

  def mean_face(self) -> MorphableModel:
    """Its mesh and mean shape as a 3DMM without modes."""
    mean = np.asarray(self.params["mean_shape"], np.float32)
    empty = np.zeros((*mean.shape, 0), np.float32)
    return MorphableModel(
      mean_shape=mean,
      identity_basis=empty,
      expression_basis=empty,
      triangles=self.triangles,
      landmark_vertices=self.landmark_vertices,
      mirror_vertices=self.mirror_vertices,
      landmark_calibration=self.landmark_calibration,
      name=self.name,
      source=self.source,
      licence=self.licence,
    )

  def as_morphable_model(self) -> MorphableModel:
    """Its decoders as a 3DMM; coefficients are its latents times three."""

    def basis(decoder: str) -> Float[np.ndarray, "V 3 C"]:
      kernel = np.asarray(self.params[decoder]["kernel"], np.float32)
      modes = kernel.reshape(len(kernel), -1, 3) / LATENT_SCALE
      return np.moveaxis(modes, 0, -1)

    return self.mean_face().replace(
      identity_basis=basis("identity_decoder"),
      expression_basis=basis("residual_decoder"),
    )


def save_network(
  folder: str | os.PathLike[str],
  model: FaceModel,
  params: Mapping[str, Any],
  morphable_model: MorphableModel,
  *,
  phase: str,
  half: bool = False,
) -> None:
  """Writes a folder that `load_network` reads, over what was there.

  Args:
    folder: Where to; made with its parents.
    model: The network.
    params: Its top-level entries; an identity head is left out.
    morphable_model: Whose topology and provenance it inherits.
    phase: The phase it comes out of.
    half: Stores the params in float16.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / ABOUT).unlink(missing_ok=True)
  kept = {name: entry for name, entry in params.items() if name != HEAD}
  flat = flax.traverse_util.flatten_dict(kept, sep="/")
  if half:
    flat = {name: np.asarray(leaf, np.float16) for name, leaf in flat.items()}
  replace_npz(folder / _PARAMS, flat)
  topology = {
    "triangles": np.asarray(morphable_model.triangles, np.int32),
    "landmark_vertices": np.asarray(
      morphable_model.landmark_vertices, np.int32
    ),
  }
  if morphable_model.mirror_vertices is not None:
    topology["mirror_vertices"] = np.asarray(
      morphable_model.mirror_vertices, np.int32
    )
  topology |= stored_calibration(morphable_model.landmark_calibration)
  replace_npz(folder / _TOPOLOGY, topology)
  about = {
    "format": _FORMAT,
    "model": {
      field.name: getattr(model, field.name) for field in _fields(model)
    },
    "morphable_model": morphable_model.provenance,
    "phase": phase,
  }
  replace_file(folder / ABOUT, json.dumps(about, indent=2) + "\n")


def load_network(path: str | os.PathLike[str] | None = None) -> Network:
  """A trained network, from what training exported.

  Args:
    path: The workdir of a finished training, or a folder that it exported;
      without it, the network that ships with the package.

  Returns:
    The network.

  Raises:
    UserFileNotFoundError: There is no export there.
    UserError: A file is damaged, or holds other arrays than the network
      has; names file and problem.
  """
  folder = _find_folder(SHIPPED if path is None else pathlib.Path(path))
  try:
    about = json.loads((folder / ABOUT).read_text())
    if about["format"] != _FORMAT:
      raise UserError(f'expected "format": "{_FORMAT}", got {about["format"]}')
    model = FaceModel(**about["model"])
    check_choice("template", model.template, TEMPLATES)
    provenance = {text: about["morphable_model"][text] for text in PROVENANCE}
    phase = about["phase"]
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(
      f"{folder / ABOUT}: expected a description of a network ({error})"
    ) from error
  otherwise = "; the export is incomplete"
  flat = read_npz(folder / _PARAMS, "an .npz", otherwise=otherwise)
  _check_params(folder / _PARAMS, flat, model)
  flat = {
    name: leaf.astype(np.float32) if leaf.dtype == np.float16 else leaf
    for name, leaf in flat.items()
  }
  topology = read_npz(
    folder / _TOPOLOGY,
    "an .npz",
    names=("triangles", "landmark_vertices"),
    otherwise=otherwise,
  )
  network = Network(
    model=model,
    params=flax.traverse_util.unflatten_dict(flat, sep="/"),
    triangles=topology["triangles"],
    landmark_vertices=topology["landmark_vertices"],
    mirror_vertices=topology.get("mirror_vertices"),
    landmark_calibration=_calibration(folder / _TOPOLOGY, topology),
    phase=phase,
    **provenance,
  )
  try:
    validate_morphable_model(network.mean_face())
  except (ValueError, TypeError) as error:
    raise UserError(f"{folder / _TOPOLOGY}: {error}") from error
  return network


def _calibration(
  path: pathlib.Path, topology: Mapping[str, Any]
) -> LandmarkCalibration | None:
  try:
    return read_stored_calibration(topology)
  except (ValueError, KeyError) as error:
    raise UserError(f"{path}: {error}") from error


def abstract_params(model: FaceModel) -> dict[str, Any]:
  """The shapes of a network's params; computes nothing.

  Raises:
    ValueError: The model names no trunk preset.
  """
  mean = jax.ShapeDtypeStruct((model.num_vertices, 3), np.float32)
  images = jax.ShapeDtypeStruct((1, 112, 96, 3), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  return dict(shapes) | {"mean_shape": mean}


def _find_folder(path: pathlib.Path) -> pathlib.Path:
  for folder in (path, path / FOLDER):
    if (folder / ABOUT).is_file():
      return folder
  if path == SHIPPED:
    raise UserFileNotFoundError(
      "no network ships with this copy; expected the path of one (--network),"
      " e.g. runs/demo/training after `python -m experiments.demo`"
    )
  raise UserFileNotFoundError(
    f"{path}: no {ABOUT} here or in {FOLDER}/; expected the workdir of a"
    " finished training or a folder that it exported"
  )


def differing_fields(model: FaceModel, other: FaceModel) -> str:
  """What a network has of the fields in which it differs, in words."""
  return ", ".join(
    f"{field.name} {getattr(model, field.name)!r}"
    for field in _fields(model)
    if getattr(model, field.name) != getattr(other, field.name)
  )


def _fields(model: FaceModel) -> list[dataclasses.Field[Any]]:
  # Linen adds `parent` and `name`, which are no hyperparameters.
  return [
    field
    for field in dataclasses.fields(model)
    if field.name not in ("parent", "name")
  ]


def _check_params(
  path: pathlib.Path, flat: Mapping[str, np.ndarray], model: FaceModel
) -> None:
  try:
    expected = flax.traverse_util.flatten_dict(abstract_params(model), sep="/")
  except ValueError as error:
    raise UserError(f"{path.with_name(ABOUT)}: {error}") from error
  differing = sorted(expected.keys() ^ flat.keys())
  if differing:
    raise UserError(
      f"{path}: expected the arrays of {model.trunk}, the first that differs"
      f" is {differing[0]}"
    )
  for name, leaf in expected.items():
    if flat[name].shape != leaf.shape:
      raise UserError(
        f"{path}: expected {name} of shape {list(leaf.shape)}, got"
        f" {list(flat[name].shape)}"
      )
    if not np.isfinite(flat[name]).all():
      raise UserError(f"{path}: expected finite numbers in {name}")
