"""From fitted photographs to skins: sampled, unshaded, completed."""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8
import numpy as np
import scipy

from disentangle3d.faces.cavities import Cavities, cavity_points, find_cavities
from disentangle3d.faces.mesh_edges import mesh_laplacian
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  landmark_points,
  synthesize_shape,
)
from disentangle3d.faces.rendering import (
  render,
  vertex_normals,
  vertex_visibility,
)
from disentangle3d.faces.shading import irradiance_basis
from disentangle3d.faces.skins import GAMMA
from disentangle3d.geometry import Camera, project

# Against the photograph with the most resting face.
_OTHER_PHOTO = 0.05
# Pulls of the mirror vertex' colour and of the neighbours' against that of a
# colour seen face to face.
_MIRROR, _SMOOTH = 0.05, 0.02
# Where the surface turns away a millimetre's misfit shows what is behind: the
# cosine to the viewer from which a colour counts, up to the eyes; above the
# forehead there is hair behind hair.
_LEAST_FACING, _LEAST_FACING_HAIR = 0.45, 0.1
_HAIR_MM = (40.0, 90.0)
# Light is told from paint by smooth skin: this share of vertices, those whose
# shade fits the light worst, is left out at each turn.
_LEFT_OUT, _LIGHT_TURNS = 0.1, 4
_SHADES = (0.35, 1.8)
# How far landmarks may be off the warp that lays the mesh on them, px.
_WARP_SMOOTHING = 1.0


class SkinMesh:
  """A model's mesh with its holes closed, and what is asked of it often.

  Attributes:
    model: The model.
    cavities: What closes it.
    triangles: Of V + C vertices.
    mirror: The vertex at each vertex' mirror image, `[V + C]`.
    laplacian: Of its edges, `[V + C, V + C]`, sparse.
    least_facing: Cosine to the viewer from which a vertex' colour counts,
      `[V + C]`.
  """

  def __init__(self, model: MorphableModel):
    self.model = model
    self.cavities: Cavities = find_cavities(model)
    self.triangles = np.concatenate(
      [np.asarray(model.triangles), np.asarray(self.cavities.triangles)]
    )
    rest = np.asarray(self.points(np.asarray(model.mean_shape)[None]))[0]
    _, self.mirror = scipy.spatial.cKDTree(rest).query(rest * [-1, 1, 1])
    self.least_facing = np.interp(
      rest[:, 1], _HAIR_MM, (_LEAST_FACING, _LEAST_FACING_HAIR)
    )
    self.laplacian = mesh_laplacian(self.triangles, len(rest))

  def points(
    self, shape: Float[Array | np.ndarray, "B V 3"]
  ) -> Float[Array, "B VC 3"]:
    """Shapes with their holes closed."""
    shape = jnp.asarray(shape, jnp.float32)
    return jnp.concatenate([shape, cavity_points(self.cavities, shape)], 1)


def person_skin(
  mesh: SkinMesh,
  photos: Sequence[UInt8[np.ndarray, "H W 3"]],
  landmarks: Sequence[Float[np.ndarray, "68 2"]],
  identity: Float[np.ndarray, "I"],
  expressions: Float[np.ndarray, "N E"],
  cameras: Camera,
) -> UInt8[np.ndarray, "VC 3"]:
  """One skin out of all photographs of a person.

  Args:
    mesh: Of the model that was fitted.
    photos: RGB.
    landmarks: Of each, its pixels.
    identity: The person's coefficients.
    expressions: Those of each photograph.
    cameras: Of each, into the photo's pixels, `[N]`.

  Returns:
    Gamma-coded albedo, `[V + C, 3]`.
  """
  resting = int(np.argmin(np.linalg.norm(expressions, axis=1)))
  total = np.zeros((len(mesh.mirror), 4))
  for number, photo in enumerate(photos):
    camera = jax.tree.map(lambda leaf, n=number: leaf[n : n + 1], cameras)
    linear, sure, normals = _sample(
      mesh, photo, landmarks[number], identity, expressions[number], camera
    )
    albedo = unshaded(linear, normals, sure)
    weight = sure * (1.0 if number == resting else _OTHER_PHOTO)
    total[:, :3] += weight[:, None] * albedo
    total[:, 3] += weight
  colors = total[:, :3] / np.maximum(total[:, 3:], 1e-9)
  full = completed(colors, total[:, 3], mesh.mirror, mesh.laplacian)
  coded = np.clip(full, 0, 1) ** (1 / GAMMA)
  return np.round(255 * coded).astype(np.uint8)


def unshaded(
  linear: Float[np.ndarray, "V 3"],
  normals: Float[np.ndarray, "V 3"],
  sure: Float[np.ndarray, "V"],
) -> Float[np.ndarray, "V 3"]:
  """Colours with the shading of a smooth white light divided out.

  The light is nine spherical harmonics of the normals, least squares to the
  brightness of what is seen; brows, eyes, hair and creases fit it worst and
  are left out turn by turn. Its mean over the face is kept.

  Args:
    linear: Colours, linear.
    normals: In camera axes.
    sure: How well each vertex is seen, 0 to 1.
  """
  basis = np.asarray(irradiance_basis(jnp.asarray(normals)), np.float64)
  bright = linear @ np.array([0.3, 0.6, 0.1])
  taken = sure > 0.2
  light = np.zeros(9)
  for _ in range(_LIGHT_TURNS):
    weight = np.sqrt(sure[taken])[:, None]
    # Little of what bends faster than a light from one side.
    ridge = np.diag([0, *(0.02,) * 3, *(0.1,) * 5]) * np.sqrt(taken.sum())
    light, *_ = np.linalg.lstsq(
      np.concatenate([weight * basis[taken], ridge]),
      np.concatenate([weight[:, 0] * bright[taken], np.zeros(9)]),
      rcond=None,
    )
    off = np.abs(bright - basis @ light)
    taken &= off <= np.quantile(off[taken], 1 - _LEFT_OUT)
  shade = basis @ light
  shade = np.clip(shade / np.average(shade, weights=sure * taken), *_SHADES)
  albedo: np.ndarray = linear / shade[:, None]
  return albedo


def completed(
  colors: Float[np.ndarray, "V 3"],
  sure: Float[np.ndarray, "V"],
  mirror: Int[np.ndarray, "V"],
  laplacian: scipy.sparse.csr_array,
) -> Float[np.ndarray, "V 3"]:
  """Colours for all vertices: seen ones, mirrored ones, smooth in between.

  Minimises the squares of the distances to the colour seen, to the one seen
  at the mirror image and to the neighbours', each with its weight.
  """
  mirrored = _MIRROR * sure[mirror]
  matrix = scipy.sparse.diags_array(sure + mirrored + 1e-6) + (
    _SMOOTH * laplacian
  )
  wanted = sure[:, None] * colors + mirrored[:, None] * colors[mirror]
  solve = scipy.sparse.linalg.factorized(matrix.tocsc())
  return np.stack([solve(wanted[:, c]) for c in range(3)], -1)


def _sample(
  mesh: SkinMesh,
  photo: UInt8[np.ndarray, "H W 3"],
  landmarks: Float[np.ndarray, "68 2"],
  identity: Float[np.ndarray, "I"],
  expression: Float[np.ndarray, "E"],
  camera: Camera,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Linear colours, how sure they are, and normals in camera axes."""
  shape = synthesize_shape(mesh.model, identity[None], expression[None])
  points, seen, normals = _view(
    mesh.points(shape),
    jnp.asarray(mesh.triangles),
    camera,
    height=photo.shape[0],
    width=photo.shape[1],
  )
  marks = np.asarray(project(camera, landmark_points(mesh.model, shape)))[0]
  warp = scipy.interpolate.RBFInterpolator(
    marks,
    landmarks - marks,
    kernel="linear",
    degree=0,
    smoothing=_WARP_SMOOTHING,
  )
  where = np.asarray(points)[0]
  where = where + warp(where)
  least = mesh.least_facing
  facing = np.clip((np.asarray(normals)[0, :, 2] - least) / (1 - least), 0, 1)
  sure = np.asarray(seen)[0] * facing**2 * _inside(where, photo.shape)
  linear = np.stack(
    [
      scipy.ndimage.map_coordinates(
        (photo[..., channel] / 255.0) ** GAMMA,
        where.T[::-1],
        order=1,
        mode="nearest",
      )
      for channel in range(3)
    ],
    -1,
  )
  return linear, sure, np.asarray(normals)[0]


@functools.partial(jax.jit, static_argnames=("height", "width"))
def _view(
  points: Float[Array, "B V 3"],
  triangles: Int[Array, "F 3"],
  camera: Camera,
  *,
  height: int,
  width: int,
) -> tuple[Array, Array, Array]:
  """Pixels of vertices, which are seen, their normals in camera axes."""
  picture = render(points, triangles, camera, height=height, width=width)
  seen = vertex_visibility(picture.depth, points, triangles, camera)
  normals = jnp.einsum(
    "bij,bvj->bvi", camera.rotation, vertex_normals(points, triangles)
  )
  return project(camera, points), seen, normals


def _inside(
  where: Float[np.ndarray, "V 2"], size: tuple[int, ...]
) -> Bool[np.ndarray, "V"]:
  far = np.array([size[1], size[0]]) - 1
  return np.all((where >= 0) & (where <= far), axis=-1)
