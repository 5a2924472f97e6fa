"""The files of one reconstructed face."""

from collections.abc import Sequence
import dataclasses
import io
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8
import numpy as np
from PIL import Image

from data_prep.faces.found_faces import FoundFace
from disentangle3d.faces.meshes import write_mesh
from disentangle3d.faces.morphable_model import landmark_mask, landmark_points
from disentangle3d.faces.texture import vertex_colors
from disentangle3d.fitting.calibration_choice import calibration_text
from disentangle3d.geometry import Camera, euler_from_rotation, project
from disentangle3d.reporting.photo_overlay import overlay_on_photo
from disentangle3d.reporting.pictures import picture_png
from disentangle3d.reporting.viewer import ViewerFace
from experiments.photographs.shapes import MAP_FROM_CROP, FaceMaker, Maps

FORMATS = ("obj", "ply", "glb")
_NO_CAMERA = "no 68 landmarks: no camera, so no overlay and no texture"
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
    has_camera: Whether it comes from landmarks.
    maps: Shapes and maps.
    track: Whose face it is in a film, from 0; None if faces were not followed.
  """

  photo: str
  found: FoundFace
  notes: tuple[str, ...]
  codes: dict[str, Float[np.ndarray, "C"]]
  camera: Camera
  has_camera: bool
  maps: Maps
  track: int | None = None


def write_face(
  folder: pathlib.Path,
  face: MadeFace,
  image: UInt8[np.ndarray, "H W 3"],
  maker: FaceMaker,
  *,
  formats: Sequence[str] = FORMATS,
) -> UInt8[np.ndarray, "V 3"] | None:
  """Writes meshes, pictures and result.json of one face.

  Args:
    folder: An empty one.
    face: What to write.
    image: The photo, RGB.
    maker: How it was made.
    formats: Of the meshes.

  Returns:
    The vertices' colours, or None where there is no camera.
  """
  warnings = [*face.notes, *face.found.notes]
  points = np.asarray(
    project(
      jax.tree.map(jnp.asarray, face.camera), jnp.asarray(face.maps.shape)
    )
  )
  colors = None
  if face.has_camera:
    try:
      colors = vertex_colors(
        image,
        points,
        face.maps.seen,
        face.maps.shape,
        mirror_vertices=maker.mirror_vertices,
      )
    except ValueError:
      warnings.append("no vertex lies inside the photo: no texture")
    drawn = overlay_on_photo(
      image, face.maps.shape, maker.triangles, face.camera
    )
    (folder / "overlay.png").write_bytes(picture_png(drawn))
  else:
    warnings.append(_NO_CAMERA)
  for name, shape in (
    ("shape", face.maps.shape),
    ("identity_shape", face.maps.identity_shape),
  ):
    for suffix in formats:
      write_mesh(folder / f"{name}.{suffix}", shape, maker.triangles, colors)
  (folder / "crop.png").write_bytes(picture_png(face.found.crop))
  _write_maps(folder, face.maps)
  files = sorted(path.name for path in folder.iterdir())
  about = _result(face, maker, warnings, files)
  (folder / "result.json").write_text(json.dumps(about, indent=1) + "\n")
  return colors


def viewer_face(
  place: str, face: MadeFace, image: np.ndarray, colors: np.ndarray | None
) -> ViewerFace:
  """The face as `viewer_page` takes it; `place` is its title."""
  photo, box = image, face.found.box
  if box is not None:
    # The head, with a margin of half the box.
    margin = (box[2:] - box[:2]) / 2
    x0, y0 = np.maximum(box[:2] - margin, 0).astype(int)
    x1, y1 = (box[2:] + margin).astype(int)
    photo = image[y0:y1, x0:x1]
  return ViewerFace(
    place, photo, face.maps.shape, face.maps.identity_shape, colors
  )


def _write_maps(folder: pathlib.Path, maps: Maps) -> None:
  np.save(folder / "depth.npy", maps.depth_mm)
  level = np.round(maps.depth_mm / _DEPTH_STEP_MM) + _DEPTH_ZERO
  level = np.where(np.isfinite(level), np.clip(level, 1, 65535), 0)
  buffer = io.BytesIO()
  Image.fromarray(level.astype(np.uint16)).save(buffer, "PNG")
  (folder / "depth.png").write_bytes(buffer.getvalue())
  shown = np.isfinite(maps.depth_mm)[..., None]
  color = np.where(shown, np.round(127.5 * (maps.normals + 1)), 0)
  (folder / "normals.png").write_bytes(picture_png(color.astype(np.uint8)))


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
  if face.has_camera:
    angles = euler_from_rotation(jnp.asarray(camera.rotation))
    degrees = np.degrees([float(angle) for angle in angles])
    result["camera"] = {
      "scale_px_per_mm": float(f"{camera.scale:.7g}"),
      "rotation": _numbers(np.asarray(camera.rotation), 7),
      "translation_px": _numbers(np.asarray(camera.translation), 4),
      "yaw_pitch_roll_degrees": _numbers(degrees, 3),
    }
    points = project(
      jax.tree.map(jnp.asarray, camera),
      landmark_points(maker.mean_face, jnp.asarray(face.maps.shape)),
    )
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
