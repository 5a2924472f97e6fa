"""The files of one reconstructed face."""

from collections.abc import Collection, Sequence
import dataclasses
import json
import pathlib
from typing import Any

import jax
from jaxtyping import Float, UInt8
import numpy as np

from data_prep.faces.found_faces import FoundFace
from data_prep.photos.encoding import jpeg_bytes, png_bytes
from data_prep.photos.resizing import resize_by
from disentangle3d.faces.gltf import write_skinned
from disentangle3d.faces.meshes import write_mesh
from disentangle3d.faces.morphable_model import landmark_mask, landmark_points
from disentangle3d.faces.texture import vertex_colors
from disentangle3d.fitting.calibration_choice import calibration_text
from disentangle3d.geometry import (
  Camera,
  euler_from_rotation,
  project,
  transform_camera,
)
from disentangle3d.reporting.photo_overlay import overlay_on_photo
from disentangle3d.reporting.viewer import ViewerFace
from experiments.photographs.maps import MAP_FROM_CROP, Maps
from experiments.photographs.shapes import FaceMaker
from experiments.photographs.skins import photo_skin, turned_views

FORMATS = ("obj", "ply", "glb")
OUTPUTS = ("mesh", "overlay", "views", "maps", "crop")
OVERLAY_SIDE = 1024
_NO_CAMERA = "no landmarks: no camera, so no overlay and no texture"
# depth.png: value = _DEPTH_ZERO + millimetres / _DEPTH_STEP_MM; 0 is nothing.
_DEPTH_STEP_MM = 0.01
_DEPTH_ZERO = 32768


@dataclasses.dataclass(frozen=True, eq=False)
class MadeFace:
  """One face and all that was made of it.

  Attributes:
    photo: The photo's name.
    found: The face in it.
    notes: What was odd about the photo.
    codes: Name to `[I]` and `[E]`.
    camera: In photo pixels.
    camera_source: What it comes from (`shapes.camera_source`), or None.
    maps: Shapes and maps.
    track: Whose face it is in a film, from 0; None if faces were not followed.
  """

  photo: str
  found: FoundFace
  notes: tuple[str, ...]
  codes: dict[str, Float[np.ndarray, "C"]]
  camera: Camera
  camera_source: str | None
  maps: Maps
  track: int | None = None


def write_face(
  folder: pathlib.Path,
  face: MadeFace,
  image: UInt8[np.ndarray, "H W 3"],
  maker: FaceMaker,
  *,
  outputs: Collection[str] = OUTPUTS,
  formats: Sequence[str] = FORMATS,
  overlay_side: int = OVERLAY_SIDE,
  viewer: bool = False,
) -> bytes | None:
  """Writes what is asked of one face, and result.json.

  Args:
    folder: An empty one.
    face: What to write.
    image: The photo, RGB.
    maker: How it was made.
    outputs: Some of `OUTPUTS`.
    formats: Of the meshes.
    overlay_side: The overlay's longer side at most, pixels; 0 is the photo's.
    viewer: It is to be shown by a viewer as well, in its skin.

  Returns:
    Its skin, a JPEG, or None where nothing shows it or there is no camera.
  """
  in_skin = viewer or "views" in outputs
  in_skin |= "mesh" in outputs and "glb" in formats
  warnings = [*face.notes, *face.found.notes]
  colors = skin = jpeg = None
  if face.camera_source is None:
    warnings.append(_NO_CAMERA)
  else:
    colors, skin = _colors(face, image, maker, in_skin=in_skin)
    if colors is None or (in_skin and skin is None):
      warnings.append("no vertex lies inside the photo: no texture")
    if "overlay" in outputs:
      drawn = _overlay(image, face, maker, overlay_side)
      (folder / "overlay.png").write_bytes(png_bytes(drawn))
  if skin is not None:
    jpeg = jpeg_bytes(skin)
    if "views" in outputs:
      shown = maker.layout.mesh.vertices(face.maps.shape)
      views = turned_views(shown, maker.layout, skin)
      (folder / "views.png").write_bytes(png_bytes(views))
  if "mesh" in outputs:
    _write_meshes(folder, face.maps, maker, formats, colors, jpeg)
  if "crop" in outputs:
    (folder / "crop.png").write_bytes(png_bytes(face.found.crop))
  if "maps" in outputs:
    _write_maps(folder, face.maps)
  files = sorted(path.name for path in folder.iterdir())
  about = _result(face, maker, warnings, files)
  (folder / "result.json").write_text(json.dumps(about, indent=1) + "\n")
  return jpeg


def _colors(
  face: MadeFace, image: np.ndarray, maker: FaceMaker, *, in_skin: bool
) -> tuple[UInt8[np.ndarray, "V 3"] | None, UInt8[np.ndarray, "S S 3"] | None]:
  """The vertices' colours and the skin, where the photo shows the face."""
  mesh = maker.layout.mesh
  points = np.asarray(_project(face.camera, mesh.vertices(face.maps.shape)))
  try:
    colors = vertex_colors(
      image,
      points[: len(face.maps.shape)],
      face.maps.seen,
      face.maps.shape,
      mirror_vertices=maker.mirror_vertices,
    )
  except ValueError:
    return None, None
  if not in_skin:
    return colors, None
  facing = mesh.facing(face.maps.facing)
  return colors, photo_skin(image, points, facing, maker.layout)


def _write_meshes(
  folder: pathlib.Path,
  maps: Maps,
  maker: FaceMaker,
  formats: Sequence[str],
  colors: np.ndarray | None,
  skin: bytes | None,
) -> None:
  """OBJ and PLY of the mesh as it is; GLB of what is to be looked at."""
  layout = maker.layout
  for name, shape in (
    ("shape", maps.shape),
    ("identity_shape", maps.identity_shape),
  ):
    for suffix in formats:
      path = folder / f"{name}.{suffix}"
      if suffix == "glb":
        write_skinned(
          path,
          layout.mesh.vertices(shape),
          layout.mesh.triangles,
          jpeg=skin,
          places=layout.places,
        )
      else:
        write_mesh(path, shape, maker.triangles, colors)


def _overlay(
  image: np.ndarray, face: MadeFace, maker: FaceMaker, side: int
) -> UInt8[np.ndarray, "h w 3"]:
  """The mesh over the photo, which is shrunk to a side before."""
  factor = min(1.0, side / max(image.shape[:2])) if side else 1.0
  small, (across, down) = resize_by(image, factor)
  # Rounded to whole pixels x and y differ by a part of one.
  factor = float(np.sqrt(across * down))
  shift = (factor - 1) / 2
  matrix = np.array([[factor, 0, shift], [0, factor, shift]], np.float32)
  camera = _moved(face.camera, matrix)
  mesh = maker.layout.mesh
  shown = mesh.vertices(face.maps.shape)
  return overlay_on_photo(small, shown, mesh.triangles, camera)


_project = jax.jit(project)
_moved = jax.jit(transform_camera)
_euler = jax.jit(euler_from_rotation)
_landmarks = jax.jit(
  lambda face, camera, shape: project(camera, landmark_points(face, shape))
)


def viewer_face(
  place: str,
  face: MadeFace,
  image: np.ndarray,
  maker: FaceMaker,
  skin: bytes | None,
) -> ViewerFace:
  """The face as `viewer_page` takes it; `place` is its title."""
  photo, box = image, face.found.box
  if box is not None:
    # The head, with a margin of half the box.
    margin = (box[2:] - box[:2]) / 2
    x0, y0 = np.maximum(box[:2] - margin, 0).astype(int)
    x1, y1 = (box[2:] + margin).astype(int)
    photo = image[y0:y1, x0:x1]
  vertices = maker.layout.mesh.vertices
  return ViewerFace(
    place,
    photo,
    vertices(face.maps.shape),
    vertices(face.maps.identity_shape),
    skin,
  )


def _write_maps(folder: pathlib.Path, maps: Maps) -> None:
  np.save(folder / "depth.npy", maps.depth_mm)
  level = np.round(maps.depth_mm / _DEPTH_STEP_MM) + _DEPTH_ZERO
  level = np.where(np.isfinite(level), np.clip(level, 1, 65535), 0)
  (folder / "depth.png").write_bytes(png_bytes(level.astype(np.uint16)))
  shown = np.isfinite(maps.depth_mm)[..., None]
  color = np.where(shown, np.round(127.5 * (maps.normals + 1)), 0)
  (folder / "normals.png").write_bytes(png_bytes(color.astype(np.uint8)))


def _result(
  face: MadeFace,
  maker: FaceMaker,
  warnings: Sequence[str],
  files: Sequence[str],
) -> dict[str, Any]:
  found, camera = face.found, face.camera
  matrix = found.crop_from_photo
  result: dict[str, Any] = {
    "photo": face.photo,
    "track": face.track,
    "method": maker.name,
    "morphable_model": dict(maker.provenance),
    "landmark_calibration": calibration_text(maker.mean_face),
    "box": None if found.box is None else _numbers(found.box, 2),
    "score": round(found.score, 4),
    "crop_from_photo": _numbers(matrix, 6),
    "latents": {name: _numbers(code, 6) for name, code in face.codes.items()},
    "camera": None,
    "camera_source": face.camera_source,
    "landmarks": None,
    "landmark_visibility": None,
    "projected_landmarks": None,
    "maps": {
      "map_from_photo": _numbers(_after(MAP_FROM_CROP, matrix), 6),
      "depth.png": f"0 is nothing; else {_DEPTH_ZERO} + mm / {_DEPTH_STEP_MM}",
      "normals.png": "127.5 (n + 1); x right, y up, z towards the viewer",
    },
    "files": list(files),
    "warnings": list(warnings),
  }
  if found.landmarks is not None:
    result["landmarks"] = _numbers(found.landmarks, 3)
    result["landmark_visibility"] = _numbers(found.visibility, 0)
  if face.camera_source is not None:
    angles = _euler(camera.rotation)
    degrees = np.degrees([float(angle) for angle in angles])
    result["camera"] = {
      "scale_px_per_mm": float(f"{camera.scale:.7g}"),
      "rotation": _numbers(np.asarray(camera.rotation), 7),
      "translation_px": _numbers(np.asarray(camera.translation), 4),
      "yaw_pitch_roll_degrees": _numbers(degrees, 3),
    }
    points = _landmarks(maker.mean_face, camera, face.maps.shape)
    known = np.asarray(landmark_mask(maker.mean_face)) > 0
    result["projected_landmarks"] = [
      _numbers(point, 3) if there else None
      for point, there in zip(np.asarray(points), known, strict=True)
    ]
  return result


def _after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
  """One affine map after another, `[2, 3]`."""
  return second @ np.concatenate([first, [[0, 0, 1]]])


def _numbers(array: np.ndarray, digits: int) -> Any:
  return np.round(np.asarray(array, np.float64), digits).tolist()
