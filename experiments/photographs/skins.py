"""A photo's colours as the skin of a face, and the face seen from elsewhere."""

import dataclasses
import functools

from jaxtyping import Bool, Float, UInt8
import numpy as np
import scipy

from data_prep.photos.resizing import resize_by
from data_prep.photos.sampling import fill_smoothly, sample_photo
from disentangle3d.faces.cavities import open_mouth
from disentangle3d.faces.display_mesh import DisplayMesh, display_mesh
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.faces.unwrapping import Pixels, draw_triangles, unwrap

SKIN_PX = 512
# How far lips reach into an open mouth in a skin.
_LIP_PX = 3.0
# A part of a photo is shrunk to about the skin's resolution before.
_LONGEST_PX = 700
# The cosine to the viewer from which a colour counts, and fully: further out a
# misfit of a millimetre shows what is behind the face.
_LEAST_FACING, _FULLY_FACING = 0.35, 0.6
# Views are drawn so much larger, and shrunk, so that edges are smooth.
_LARGER = 1.4
# How much less a mirrored colour counts.
_MIRRORED = 0.8


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
  """How a model's faces are shown and their skins are laid out.

  Attributes:
    mesh: What is shown.
    places: Of its vertices in a skin, from 0 to 1 to the right and down,
      `[V2, 2]`.
    covered: Where a skin has a triangle, `[S, S]`.
    interpolate: From what vertices have to what those pixels have, `[N, V2]`.
  """

  mesh: DisplayMesh
  places: Float[np.ndarray, "V2 2"]
  covered: Bool[np.ndarray, "S S"]
  interpolate: scipy.sparse.csr_matrix


def skin_layout(model: MorphableModel) -> Layout:
  """The layout for a model's mean shape, its mouth open: teeth need a place."""
  mesh = display_mesh(model)
  face = mesh.vertices(open_mouth(model, mesh.cavities).astype(np.float32))
  places = unwrap(face, mesh.triangles)
  depth = np.linalg.norm(face[:, ::2], axis=1)
  points = np.concatenate([places * SKIN_PX - 0.5, depth[:, None]], 1)
  pixels = draw_triangles(points, mesh.triangles, SKIN_PX, SKIN_PX)
  pixels = _lips_kept(pixels, _of_mouth(mesh, len(model.mean_shape)))
  return Layout(
    mesh,
    places.astype(np.float32),
    pixels.covered,
    pixels.matrix(mesh.triangles, len(face)),
  )


def _of_mouth(mesh: DisplayMesh, first: int) -> Bool[np.ndarray, "F2"]:
  """Which triangles close a mouth, by vertices of holes, from `first` on."""
  mouth = np.zeros(mesh.triangles.max() + 1, bool)
  mouth[first + np.flatnonzero(np.asarray(mesh.cavities.mouth))] = True
  return mouth[mesh.triangles].any(1)


def _lips_kept(pixels: Pixels, of_mouth: Bool[np.ndarray, "F2"]) -> Pixels:
  """Lips a little wider than they are: their edges must not show teeth."""
  behind = pixels.covered & of_mouth[pixels.triangle]
  away, nearest = scipy.ndimage.distance_transform_edt(
    behind, return_indices=True
  )
  near = behind & (away <= _LIP_PX)
  rows, columns = nearest[:, near]
  triangle, weights = pixels.triangle.copy(), pixels.weights.copy()
  triangle[near] = pixels.triangle[rows, columns]
  weights[near] = pixels.weights[rows, columns]
  return Pixels(triangle, weights)


def photo_skin(
  image: UInt8[np.ndarray, "H W 3"],
  points: Float[np.ndarray, "V2 2"],
  facing: Float[np.ndarray, "V2"],
  layout: Layout,
) -> UInt8[np.ndarray, "S S 3"] | None:
  """The photo's colours where they are seen; else the other side's, or smooth.

  Args:
    image: The photo, RGB.
    points: Where the shown mesh's vertices are in it, pixels.
    facing: The cosine between their normals and the viewer, 0 where they are
      hidden.
    layout: Of the mesh.

  Returns:
    The skin; None if the photo shows nothing of it.
  """
  size = np.array([image.shape[1], image.shape[0]])
  low = np.clip(np.floor(points.min(0)) - 2, 0, size).astype(int)
  high = np.clip(np.ceil(points.max(0)) + 3, 0, size).astype(int)
  if min(high - low) < 2:
    return None
  part = image[low[1] : high[1], low[0] : high[0]]
  part, factors = resize_by(part, min(1.0, _LONGEST_PX / max(part.shape[:2])))
  inside = ((points >= 0) & (points <= size - 1)).all(1)
  weight = np.clip(
    (facing - _LEAST_FACING) / (_FULLY_FACING - _LEAST_FACING), 0, 1
  )
  there = layout.covered
  where = np.zeros((*there.shape, 2), np.float32)
  own = np.zeros(there.shape, np.float32)
  local = (points - low + 0.5) * factors - 0.5
  values = np.concatenate([local, (weight * inside)[:, None]], 1)
  at_pixels = layout.interpolate @ values.astype(np.float32)
  where[there], own[there] = at_pixels[:, :2], at_pixels[:, 2]
  if not own.any():
    return None
  colors = sample_photo(part, where).astype(np.float32)
  # The layout is symmetric: the other side is the mirrored picture.
  other = _MIRRORED * (1 - own) * own[:, ::-1]
  known = own + other
  mixed = own[..., None] * colors + other[..., None] * colors[:, ::-1]
  mixed /= np.maximum(known, 1e-6)[..., None]
  filled = fill_smoothly(mixed, np.minimum(known, 1))
  return np.round(np.clip(filled, 0, 255)).astype(np.uint8)


def turned_views(
  vertices: Float[np.ndarray, "V2 3"],
  layout: Layout,
  skin: UInt8[np.ndarray, "S S 3"],
  *,
  yaws_deg: tuple[float, ...] = (0.0, -40.0),
  size_px: int = 320,
) -> UInt8[np.ndarray, "h w 3"]:
  """A face in its skin, seen from several sides, on white.

  Args:
    vertices: Of the shown mesh, mm.
    layout: Of the mesh.
    skin: Its skin.
    yaws_deg: Turns of the head.
    size_px: Of each picture.
  """
  shown = np.unique(layout.mesh.triangles)
  middle = (vertices[shown].min(0) + vertices[shown].max(0)) / 2
  centred = vertices - middle
  scale = 0.94 * size_px / np.ptp(centred[shown, 1])
  draw = functools.partial(_view, layout=layout, skin=skin, size_px=size_px)
  return np.concatenate(
    [draw(_turned(centred, np.radians(yaw)) * scale) for yaw in yaws_deg], 1
  )


def _turned(vertices: np.ndarray, yaw: float) -> np.ndarray:
  cos, sin = np.cos(yaw), np.sin(yaw)
  x, y, z = vertices.T
  return np.stack([cos * x + sin * z, y, cos * z - sin * x], -1)


def _view(
  points: Float[np.ndarray, "V2 3"],
  *,
  layout: Layout,
  skin: UInt8[np.ndarray, "S S 3"],
  size_px: int,
) -> UInt8[np.ndarray, "h w 3"]:
  large = round(_LARGER * size_px)
  on_screen = points * (_LARGER, -_LARGER, 1) + (large / 2, large / 2, 0)
  triangles = layout.mesh.triangles
  pixels = draw_triangles(on_screen, triangles, large, large)
  where = np.zeros((large, large, 2), np.float32)
  places = layout.places * SKIN_PX - 0.5
  where[pixels.covered] = pixels.of(places, triangles)
  picture = sample_photo(skin, where)
  picture[~pixels.covered] = 255
  return resize_by(picture, size_px / large)[0]
