"""Fig. 9: what single latents do to the face, before and after phase III.

The weights of one latent are a basis vector, as in a 3DMM. Latents are
coefficients / 3, so a latent of 2/3 is two standard deviations of the 3DMM
that the decoders were made of.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from disentangle3d.geometry import unflatten_vertices
from disentangle3d.reporting.figures import error_views, render_shape
from disentangle3d.reporting.galleries import ColorBar, gallery
from disentangle3d.reporting.html_page import Block, Picture, Section
from disentangle3d.training.export import Network
from disentangle3d.types import UserError

LATENT = 2 / 3
_MARGIN = 1.06
# Thousandths of a millimetre are rounding.
_LEAST_MM = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Bases:
  """What latents move in one network; mm.

  Attributes:
    mean_shape: `[V, 3]`.
    identity: For each chosen latent at `LATENT`, `[N, V, 3]`.
    residual: The same, `[N, V, 3]`.
  """

  mean_shape: Float[np.ndarray, "V 3"]
  identity: Float[np.ndarray, "N V 3"]
  residual: Float[np.ndarray, "N V 3"]


def read_bases(network: Network, count: int) -> Bases:
  """The first `count` basis vectors of both decoders.

  Raises:
    UserError: A decoder has fewer.
  """
  moved = {}
  for name in ("identity_decoder", "residual_decoder"):
    kernel = np.asarray(network.params[name]["kernel"], np.float32)
    if not 1 <= count <= len(kernel):
      raise UserError(
        f"bases: expected 1 to {len(kernel)}, as many as the {name} has, got"
        f" {count}"
      )
    flat = jnp.asarray(LATENT * kernel[:count])
    moved[name] = np.asarray(unflatten_vertices(flat))
  mean = np.asarray(network.params["mean_shape"], np.float32)
  return Bases(
    mean.reshape(-1, 3), moved["identity_decoder"], moved["residual_decoder"]
  )


def distances(moved: Float[np.ndarray, "N V 3"]) -> Float[np.ndarray, "N V"]:
  """How far each vertex moves, mm: the values behind a heat map."""
  return np.linalg.norm(moved.astype(np.float64), axis=-1)


def bases_section(
  networks: Mapping[str, Network], *, count: int, size_px: int = 512
) -> Section:
  """The bases of networks, one network a row.

  Args:
    networks: In order, before and after; on one mesh.
    count: How many basis vectors of each decoder.
    size_px: Of each picture.

  Returns:
    Three pictures: identity, residual, and what lies between the first
    network and the last (only where there are two).
  """
  triangles = next(iter(networks.values())).triangles
  bases = {name: read_bases(one, count) for name, one in networks.items()}
  first, last = bases[next(iter(bases))], bases[list(bases)[-1]]
  extent = _extent(bases)
  labels = [f"{number + 1}" for number in range(count)]
  rows = [
    list(render_shape(one, triangles, size_px=size_px, extent_mm=extent))
    for one in map(_shown, bases.values())
  ]
  figure = gallery(
    rows,
    row_labels=list(bases),
    column_labels=["mean shape", *(f"identity basis {n}" for n in labels)],
    cell_px=size_px,
    extent_mm=extent,
  )
  caption = (
    "Fig. 9a: mean shape plus two standard deviations of one identity latent"
  )
  blocks: list[Block] = [
    Picture(figure, caption, width_px=1200, is_photo=True),
    _heat_gallery(
      first.mean_shape,
      triangles,
      {name: distances(one.residual) for name, one in bases.items()},
      [f"residual basis {n}" for n in labels],
      extent,
      size_px,
      "Fig. 9b: what two standard deviations of one residual latent move,"
      " drawn on the mean shape",
    ),
  ]
  if len(bases) > 1:
    blocks.append(
      _heat_gallery(
        first.mean_shape,
        triangles,
        {
          "identity": distances(last.identity - first.identity),
          "residual": distances(last.residual - first.residual),
        },
        [f"basis {n}" for n in labels],
        extent,
        size_px,
        f"What lies between “{list(bases)[0]}” and “{list(bases)[-1]}”: the"
        " distance between their bases at two standard deviations",
      )
    )
  return Section("Fig. 9: bases before and after joint training", blocks)


def _shown(bases: Bases) -> Float[np.ndarray, "N1 V 3"]:
  """The mean shape, then what each identity latent makes of it."""
  mean = bases.mean_shape
  return np.concatenate([mean[None], mean + bases.identity])


def _extent(bases: Mapping[str, Bases]) -> float:
  """What a picture's side shows, mm: room for all shapes."""
  points = np.concatenate(
    [_shown(one).reshape(-1, 3) for one in bases.values()]
  )
  return _MARGIN * float(np.ptp(points, axis=0)[:2].max())


def _heat_gallery(
  mean_shape: np.ndarray,
  triangles: np.ndarray,
  moved: Mapping[str, np.ndarray],
  labels: Sequence[str],
  extent_mm: float,
  size_px: int,
  caption: str,
) -> Picture:
  """One row a name; one colour bar, for the basis that moves most."""
  everything = np.concatenate(list(moved.values()))
  most = np.percentile(everything, 99.5, axis=-1).max()
  maximum = max(float(most), _LEAST_MM)
  rows = [
    list(
      error_views(
        np.broadcast_to(mean_shape, (len(one), *mean_shape.shape)),
        triangles,
        one,
        maximum_mm=maximum,
        size_px=size_px,
        extent_mm=extent_mm,
      )
    )
    for one in moved.values()
  ]
  figure = gallery(
    rows,
    row_labels=list(moved),
    column_labels=labels,
    cell_px=size_px,
    extent_mm=extent_mm,
    color_bar=ColorBar(maximum, "distance (mm)"),
  )
  return Picture(figure, caption, width_px=1200)
