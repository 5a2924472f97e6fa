"""From shapes, cameras and random numbers to the synthetic world's crops."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array

from disentangle3d.faces import (
  appearance,
  occluders,
  photography,
  snapshots,
  wardrobe,
)
from disentangle3d.faces.head_closure import close_head
from disentangle3d.faces.morphable_model import landmark_mask
from disentangle3d.faces.rasterizer import map_images
from disentangle3d.faces.rendering import Rendering, point_visibility, render
from disentangle3d.faces.shading import ambient_light, normals_of
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.geometry import Camera
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH

# Photos are rendered with a border, so that blur and self-occlusion of
# landmarks beyond the crop (the chin, often) are as in the whole photo.
_MARGIN = 16


@dataclasses.dataclass(frozen=True)
class Frame:
  """What of a photo is kept, pixels.

  Attributes:
    height: Of the photo.
    width: Of the photo.
    margin: Rendered beyond each edge.
  """

  height: int = IMAGE_HEIGHT
  width: int = IMAGE_WIDTH
  margin: int = _MARGIN

  @property
  def rendered(self) -> tuple[int, int]:
    """Height and width with the margins."""
    return self.height + 2 * self.margin, self.width + 2 * self.margin


CROP = Frame()


def develop(
  world: SyntheticWorld,
  shape: Array,
  camera: Camera,
  vertices: Array,
  *,
  by_person: dict[str, Array],
  by_photo: dict[str, Array],
  sensor_keys: Array,
  frame: Frame = CROP,
) -> tuple[Array, Array, Array]:
  """Photos of dressed heads by any camera, or of painted ones in soft light.

  Args:
    world: The world.
    shape: Everything in the photos, `[B, V, 3]`.
    camera: Into the crops, `[B]`.
    vertices: Of the landmarks, `[B, 68]`.
    by_person: Normal numbers of each photo's person, by what they are for.
    by_photo: The same of each photo; `fringe` is only where hair is to hang
      into faces.
    sensor_keys: Of the noise, `[B]`.
    frame: Of the photos; the aligned crop's where it is not given.

  Returns:
    Photos, `[B, H, W, 3]` uint8, visibility, `[B, 68]`, and where the head is,
    `[B, H, W]`.
  """
  develop_them = _studio if world.wardrobe is None else _snapshots
  return develop_them(
    world, shape, camera, vertices, by_person, by_photo, sensor_keys, frame
  )


def _studio(
  world: SyntheticWorld,
  shape: Array,
  camera: Camera,
  vertices: Array,
  by_person: dict[str, Array],
  by_photo: dict[str, Array],
  sensor_keys: Array,
  frame: Frame,
) -> tuple[Array, Array, Array]:
  """Painted heads in soft light; as `develop`."""
  height, width = frame.rendered
  palette = _palettes(world.albedo, by_person, by_photo)
  hair = world.closure.hair.reshape(-1)
  lens = jax.vmap(photography.random_lens)(by_photo["lens"])
  background = map_images(
    lambda normal: photography.random_background(
      normal, height=height, width=width
    ),
    by_photo["background"],
  )
  wider = _widened(camera, frame)
  seen = render(
    close_head(world.closure, shape, palette.hair_mm),
    world.closure.triangles,
    wider,
    height=height,
    width=width,
    colors=map_images(
      lambda one: appearance.paint(world.canvas, one, hair), palette
    ),
    lighting=lens.lighting,
    background=background,
    # With hair and neck the head is closed where a photo looks.
    cull_back_faces=True,
  )
  image = map_images(
    lambda key, linear, one: photography.expose(
      key, linear, one, margin=frame.margin
    ),
    sensor_keys,
    seen.image,
    lens,
  )
  visibility = _landmark_visibility(world, seen, shape, vertices, wider)
  return image, visibility, _head(seen, frame)


def _snapshots(
  world: SyntheticWorld,
  shape: Array,
  camera: Camera,
  vertices: Array,
  by_person: dict[str, Array],
  by_photo: dict[str, Array],
  sensor_keys: Array,
  frame: Frame,
) -> tuple[Array, Array, Array]:
  """Dressed heads by any camera; as `develop`.

  Raises:
    ValueError: The world has no skins.
  """
  worn = world.wardrobe
  if worn is None:
    raise ValueError("world: expected one with skins")
  wider = _widened(camera, frame)
  height, width = frame.rendered
  shots = jax.vmap(snapshots.random_shot)(by_photo["shot"])
  dresses = _dresses(world, worn, by_person, by_photo)
  whose = by_photo if world.albedo == "per_photo" else by_person
  fall = whose["fall"] * (world.albedo != "constant")
  head = close_head(world.closure, shape, 8 + 18 * norm.cdf(fall[:, 3]))
  points = wardrobe.dressed_points(worn, shape, head)
  # All light is in the vertices' colours: what `render` adds shines on all.
  even = ambient_light(jnp.ones((3,), jnp.float32))
  seen = render(
    points,
    worn.triangles,
    wider,
    height=height,
    width=width,
    colors=map_images(
      lambda *one: _lit(world, worn, *one),
      *(shots, points, dresses, wider.rotation),
    ),
    lighting=jnp.broadcast_to(even, (shape.shape[0], 9, 3)),
    background=map_images(
      lambda *one: _behind(worn, frame, *one),
      *(wider, dresses, fall, by_photo["worn"], by_photo["backdrop"]),
    ),
    cull_back_faces=True,
  )
  eyes = shape[:, jnp.asarray(world.model.landmark_vertices)[36:48]]
  eyes = eyes.reshape(-1, 2, 6, 3).mean(2)
  things = by_photo["worn"]
  fringe = by_photo.get("fringe")
  if fringe is None:
    fringe = jnp.zeros((shape.shape[0], occluders.FRINGE_DRAWS), jnp.float32)
  image = map_images(
    lambda *one: _exposed(frame, *one),
    *(sensor_keys, seen.image, wider, eyes, dresses, fringe, things, shots),
  )
  visibility = _landmark_visibility(world, seen, shape, vertices, wider)
  return image, visibility, _head(seen, frame)


def _lit(
  world: SyntheticWorld,
  worn: wardrobe.Wardrobe,
  shot: snapshots.Shot,
  points: Array,
  dress: wardrobe.Dress,
  rotation: Array,
) -> Array:
  """Colours of one head's vertices under the photo's light."""
  colors = wardrobe.dressed_colors(worn, dress, world.closure, points)
  normals = normals_of(points, worn.triangles)
  return snapshots.lit_colors(
    shot, points @ rotation.T, normals @ rotation.T, colors
  )


def _behind(
  worn: wardrobe.Wardrobe,
  frame: Frame,
  camera: Camera,
  dress: wardrobe.Dress,
  fall: Array,
  things: Array,
  normal: Array,
) -> Array:
  """What stands behind one head."""
  height, width = frame.rendered
  scene = snapshots.backdrop(worn.backdrops, normal, height=height, width=width)
  hair = 0.6 * dress.hair / snapshots.HEADROOM
  return occluders.draw_behind(scene, camera, hair, fall, things)


def _exposed(
  frame: Frame,
  key: Array,
  picture: Array,
  camera: Camera,
  eyes: Array,
  dress: wardrobe.Dress,
  fringe: Array,
  things: Array,
  shot: snapshots.Shot,
) -> Array:
  """One crop of what one camera sees."""
  hair = 0.6 * dress.hair / snapshots.HEADROOM
  picture = occluders.draw_fringe(picture, camera, eyes, hair, fringe)
  hand = 0.7 * dress.skin / snapshots.HEADROOM
  picture = occluders.draw_before(picture, camera, eyes, hand, things)
  return snapshots.expose(key, picture, shot, margin=frame.margin)


def _dresses(
  world: SyntheticWorld,
  worn: wardrobe.Wardrobe,
  by_person: dict[str, Array],
  by_photo: dict[str, Array],
) -> wardrobe.Dress:
  """The skin of each photo's face."""
  palettes = _palettes(world.albedo, by_person, by_photo)
  drawn = (by_photo if world.albedo == "per_photo" else by_person)["dress"]
  if world.albedo == "constant":
    drawn = jnp.zeros_like(drawn)
  return map_images(
    lambda palette, normal: wardrobe.dress(worn, world.canvas, palette, normal),
    palettes,
    drawn,
  )


def _widened(camera: Camera, frame: Frame) -> Camera:
  return dataclasses.replace(
    camera, translation=camera.translation + float(frame.margin)
  )


def _head(seen: Rendering, frame: Frame) -> Array:
  rows, columns = (
    slice(frame.margin, frame.margin + size)
    for size in (frame.height, frame.width)
  )
  return seen.triangle_index[:, rows, columns] >= 0


def _landmark_visibility(
  world: SyntheticWorld,
  seen: Rendering,
  shape: Array,
  vertices: Array,
  camera: Camera,
) -> Array:
  points = jnp.take_along_axis(shape, vertices[..., None], 1)
  visible = point_visibility(seen.depth, points, None, camera, tolerance_mm=5.0)
  return visible * landmark_mask(world.model)[None]


def _palettes(
  albedo: str, by_person: dict[str, Array], by_photo: dict[str, Array]
) -> appearance.Palette:
  """The colours of each photo's face."""
  if albedo == "constant":
    batch = by_photo["palette"].shape[0]
    return jax.tree.map(
      lambda one: jnp.broadcast_to(one[None], (batch, *one.shape)),
      appearance.constant_palette(),
    )
  drawn = by_person if albedo == "per_person" else by_photo
  return jax.vmap(appearance.random_palette)(drawn["palette"])
