"""From one 112x96 face crop: a dense 3D face, split into identity and residual.

    import disentangle3d as d3d

    network = d3d.load_network()  # the one that ships; or of a path
    reconstruct = jax.jit(d3d.reconstruct, static_argnames="model")
    faces = reconstruct(network.params, crops, model=network.model)
    faces.shape  # [B, V, 3], mm

Crops of photographs come from `data_prep.faces.found_faces.find_face`.

Measures live in `d3d.evaluation.reconstruction`, `d3d.evaluation.verification`
and `d3d.evaluation.disentanglement`. Nothing here jits, prints or keeps state.
"""

import typing as _typing

from disentangle3d import evaluation, faces, fitting, network, training
from disentangle3d.evaluation.reconstruction import ShapeError
from disentangle3d.evaluation.verification import VerificationResult
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
  save_morphable_model,
  synthesize_shape,
)
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.rendering import Rendering, render
from disentangle3d.faces.synthetic import (
  SyntheticPhotos,
  SyntheticWorld,
  render_photos,
  synthetic_world,
)
from disentangle3d.fitting.camera import estimate_camera
from disentangle3d.fitting.contour import jaw_contour
from disentangle3d.fitting.landmark_fitting import (
  FitOptions,
  FitResult,
  fit_landmarks,
)
from disentangle3d.geometry import (
  Camera,
  align_similarity,
  project,
  transform_camera,
)
from disentangle3d.inference import (
  cast_params,
  decode,
  encode,
  face_embedding,
  load_params,
  prepare_params,
  reconstruct,
)
from disentangle3d.network.face_model import FaceModel, init_params
from disentangle3d.training.export import Network, load_network
from disentangle3d.types import Latents, Reconstruction

if _typing.TYPE_CHECKING:
  from disentangle3d.faces.meshes import write_mesh

__version__ = "0.1.0"

__all__ = [
  "Camera",
  "FaceModel",
  "FitOptions",
  "FitResult",
  "Latents",
  "MorphableModel",
  "Network",
  "Reconstruction",
  "Rendering",
  "ShapeError",
  "SyntheticPhotos",
  "SyntheticWorld",
  "VerificationResult",
  "align_similarity",
  "cast_params",
  "decode",
  "encode",
  "estimate_camera",
  "evaluation",
  "face_embedding",
  "faces",
  "fit_landmarks",
  "fitting",
  "init_params",
  "jaw_contour",
  "load_morphable_model",
  "load_network",
  "load_params",
  "network",
  "prepare_params",
  "procedural_face_model",
  "project",
  "reconstruct",
  "render",
  "render_photos",
  "save_morphable_model",
  "synthesize_shape",
  "synthetic_world",
  "training",
  "transform_camera",
  "write_mesh",
]


def __getattr__(name: str) -> object:
  # It brings trimesh, for which those who write no mesh need not wait.
  if name == "write_mesh":
    from disentangle3d.faces.meshes import write_mesh

    return write_mesh
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
