"""Other methods' reconstructions: a folder of meshes, named as the photos are.

    <folder>/person000040/photo00000321.obj          the full shape, OBJ or PLY
    <folder>/person000040/photo00000321_identity.obj the neutral one, if any
    <folder>/person000040/photo00000321.txt          landmarks, [68, 3], or .npy

in millimetres, or any unit where the protocol has a scale. Photos of a
synthetic set are looked for in a folder of the set's name. A mesh with as
many vertices as the 3DMM is taken to have its topology, and needs no
landmarks. A photo without a mesh is missing, and counted as such.
"""

from collections.abc import Sequence
import dataclasses
import pathlib

from jaxtyping import Float, Int
import numpy as np

from data_prep.stages.flag_values import parse_all_named
from disentangle3d.evaluation.scans import Scan, make_scan, scan_of
from disentangle3d.faces.meshes import read_mesh
from disentangle3d.input_files import existing_folder
from disentangle3d.types import NUM_LANDMARKS, UserError, UserFileNotFoundError
from experiments.sets.numbers import read_numbers

_SUFFIXES = (".obj", ".ply")


@dataclasses.dataclass(frozen=True, eq=False)
class MeshFolder:
  """One method's meshes.

  Attributes:
    name: As tables print it.
    folder: Where they are.
    landmark_vertices: Of the 3DMM's topology, `[68]`.
    triangles: Of the 3DMM's topology, `[F, 3]`.
    num_vertices: Of the 3DMM.
  """

  name: str
  folder: pathlib.Path
  landmark_vertices: Int[np.ndarray, "68"]
  triangles: Int[np.ndarray, "F 3"]
  num_vertices: int


def read_mesh_folders(
  named: Sequence[str],
  landmark_vertices: Int[np.ndarray, "68"],
  triangles: Int[np.ndarray, "F 3"],
  num_vertices: int,
) -> list[MeshFolder]:
  """The folders of `--meshes=NAME=PATH` or `PATH` flags.

  Raises:
    UserError: A name or a path is empty, or a name comes twice.
    UserFileNotFoundError: There is no such folder.
  """
  folders: list[MeshFolder] = []
  # As surfaces keep them: `corresponds` asks whether they are the same array.
  triangles = np.asarray(triangles, np.int64)
  for name, path in parse_all_named("meshes", named).items():
    folder = pathlib.Path(path)
    try:
      existing_folder(folder)
    except UserFileNotFoundError as error:
      raise UserFileNotFoundError(f"--meshes={name}: {error}") from error
    folders.append(
      MeshFolder(name, folder, landmark_vertices, triangles, num_vertices)
    )
  return folders


def checked_folder(
  meshes: MeshFolder, set_name: str, photos: Sequence[str]
) -> MeshFolder:
  """The method's meshes of one set.

  Args:
    meshes: Of all sets.
    set_name: Of the set's own folder.
    photos: Of the set; see `read_prediction`.

  Raises:
    UserError: There is a mesh of none of the photos.
  """
  folder = meshes.folder / set_name
  there = (
    folder / f"{photo}{suffix}" for photo in photos for suffix in _SUFFIXES
  )
  if not any(path.is_file() for path in there):
    raise UserError(
      f"{folder}: expected meshes as {photos[0]}.obj, got none of this set's"
      " photos"
    )
  return dataclasses.replace(meshes, folder=folder)


def read_prediction(
  meshes: MeshFolder, photo: str, *, identity: bool = False
) -> Scan | None:
  """The mesh of a photo.

  Args:
    meshes: The method.
    photo: "person000040/photo00000321", without a suffix.
    identity: The neutral shape.

  Returns:
    The mesh with its landmarks, or None where there is none.

  Raises:
    UserError: It is no mesh, or it has neither the 3DMM's topology nor
      landmarks of its own; names the file.
  """
  stem = meshes.folder / (photo + ("_identity" if identity else ""))
  for suffix in _SUFFIXES:
    path = stem.with_name(stem.name + suffix)
    if path.is_file():
      return _read_scan(meshes, stem, path)
  return None


def corresponds(meshes: MeshFolder, scan: Scan) -> bool:
  """Whether vertex i of the mesh is vertex i of the 3DMM."""
  return np.array_equal(scan.surface.triangles, meshes.triangles)


def _read_scan(
  meshes: MeshFolder, stem: pathlib.Path, path: pathlib.Path
) -> Scan:
  mesh, landmarks = read_mesh(path), _read_landmarks(stem)
  try:
    if landmarks is not None:
      return make_scan(mesh.vertices, mesh.triangles, landmarks)
    if len(mesh.vertices) == meshes.num_vertices:
      return scan_of(mesh.vertices, meshes.triangles, meshes.landmark_vertices)
  except ValueError as error:
    raise UserError(f"{path}: {error}") from error
  raise UserError(
    f"{path}: expected {meshes.num_vertices} vertices as the 3DMM has, or"
    f" landmarks in {stem.name}.txt or .npy, got {len(mesh.vertices)} vertices"
    " and none"
  )


def _read_landmarks(stem: pathlib.Path) -> Float[np.ndarray, "68 3"] | None:
  for suffix in (".txt", ".npy"):
    path = stem.with_name(stem.name + suffix)
    if not path.is_file():
      continue
    points = read_numbers(path)
    if points.shape != (NUM_LANDMARKS, 3):
      raise UserError(
        f"{path}: expected landmarks [{NUM_LANDMARKS}, 3], got"
        f" {list(points.shape)}"
      )
    return points
  return None
