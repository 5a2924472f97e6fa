"""3D face scans with landmarks and photos, for evaluation.

`list_bu3dfe` and `list_florence` say which files a test set has; `read_scan`
reads those of one scan, so that a set never has to fit into memory.
"""

import dataclasses
import pathlib

from jaxtyping import Float, Int
import numpy as np

from data_prep.evaluation_sets.bnd import read_bnd
from data_prep.evaluation_sets.ljson import read_ljson
from data_prep.evaluation_sets.vrml import read_vrml
from disentangle3d.faces.meshes import read_mesh
from disentangle3d.types import UserError


@dataclasses.dataclass(frozen=True)
class ScanFiles:
  """The files of one scan.

  Attributes:
    subject: Whose face it is.
    expression: What it does: BU-3DFE's AN, DI, FE, HA, NE, SA, SU; for
      Florence the view, e.g. frontal1 (all are neutral).
    level: How strongly, 1 to 4; 0 for neutral.
    mesh_path: The scan, .wrl or .obj, mm.
    landmarks_path: Its landmarks, .bnd or .ljson; None if there are none.
    photo_paths: Photos of the same face: BU-3DFE's of the same moment,
      Florence's the frames of the person's videos.
  """

  subject: str
  expression: str
  level: int
  mesh_path: pathlib.Path
  landmarks_path: pathlib.Path | None
  photo_paths: tuple[pathlib.Path, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class RawScan:
  """One scan in memory; y is up, z towards the scanner.

  Attributes:
    files: Where it came from, and of whom it is.
    vertices: `[V, 3]` float32, mm.
    triangles: 0-based vertex indices, `[F, 3]` int32.
    landmarks: `[L, 3]` float32, mm: BU-3DFE's own 83, or iBUG's 68, of which a
      missing one is NaN; None if there are none.
  """

  files: ScanFiles
  vertices: Float[np.ndarray, "V 3"]
  triangles: Int[np.ndarray, "F 3"]
  landmarks: Float[np.ndarray, "L 3"] | None


def read_scan(files: ScanFiles) -> RawScan:
  """Reads the mesh and the landmarks of one scan.

  Raises:
    UserFileNotFoundError: A file is gone.
    UserError: A file is malformed, or the landmarks are not of this mesh;
      names file and problem.
  """
  is_vrml = files.mesh_path.suffix.lower() == ".wrl"
  mesh = (read_vrml if is_vrml else read_mesh)(files.mesh_path)
  path = files.landmarks_path
  landmarks = None
  if path is not None and path.suffix.lower() == ".bnd":
    bnd = read_bnd(path)
    if bnd.vertices.max() >= len(mesh.vertices):
      raise UserError(
        f"{path}: expected vertices below {len(mesh.vertices)}, as many as"
        f" {files.mesh_path.name} has, got {bnd.vertices.max()}"
      )
    landmarks = bnd.points
  elif path is not None:
    landmarks = read_ljson(path)
  return RawScan(files, mesh.vertices, mesh.triangles, landmarks)
