"""People of the synthetic world that no training has seen, and their truth."""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from data_prep.datasets.synthetic_set import (
  SyntheticSet,
  fit_labels,
  label_model,
  photos_of,
  split_plans,
)
from disentangle3d.evaluation.shape_scores import (
  Method,
  ShapeScores,
  score_shapes,
)
from disentangle3d.faces.morphable_model import MorphableModel, synthesize_shape
from disentangle3d.faces.synthetic import SyntheticPhotos, render_photos
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.fitting.batched_fitting import ImageFits
from disentangle3d.fitting.batches import BatchShape
from disentangle3d.inference import reconstruct
from disentangle3d.network.face_model import FaceModel
from disentangle3d.training.export import Network

# Of a person, in most sets (see `sets/synthetic.py`).
_MOST_PHOTOS = 20
MEAN_SHAPE = "mean shape"
SINGLE_FIT = "landmark fit, this photo only"
MULTI_FIT = "landmark fit, all photos of the person"


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
  """P photos of held-out people, and what landmarks alone say of them.

  Attributes:
    world: Their world; `photos_per_person` is theirs.
    fitter: The fitter's model.
    seed: Of the world's draws.
    indices: The photos' numbers, `[P]`.
    photos: On the host, without shapes.
    single: Fits of each photo by itself.
    multi: Fits of all photos of a person at once, as labels are.
  """

  world: SyntheticWorld
  fitter: MorphableModel
  seed: int
  indices: Int[np.ndarray, "P"]
  photos: SyntheticPhotos
  single: ImageFits
  multi: ImageFits

  @property
  def num_photos(self) -> int:
    """P."""
    return len(self.indices)


def heldout_people(
  settings: SyntheticSet, world: SyntheticWorld, fitter: MorphableModel
) -> HeldOut:
  """Renders the split `heldout` again, and fits it both ways."""
  plan = split_plans(settings)["heldout"]
  world = world.replace(photos_per_person=plan.photos_per_person)
  indices = plan.indices()
  photos = photos_of(world, settings.seed, indices)
  small = label_model(fitter, world.jaw)
  shapes = fit_shapes(plan.photos_per_person)

  def fit(people: Int[np.ndarray, "P"]) -> ImageFits:
    return fit_labels(
      small, photos.landmarks, photos.visibility, people, shapes=shapes
    )

  return HeldOut(
    world=world,
    fitter=fitter,
    seed=settings.seed,
    indices=indices,
    photos=photos,
    single=fit(np.arange(len(indices))),
    multi=fit(np.asarray(photos.person)),
  )


def fit_shapes(photos_per_person: int = 1) -> tuple[BatchShape, BatchShape]:
  """Sizes of batches that all synthetic sets share: two programs in all."""
  more = 1 if jax.default_backend() == "cpu" else 8
  widest = max(_MOST_PHOTOS, photos_per_person)
  return BatchShape(1, 128 * more), BatchShape(widest, 8 * more)


def photo_names(heldout: HeldOut) -> list[str]:
  """What each photo is called in folders: subject and image_id, P of them."""
  return [
    f"person{person:06d}/photo{index:08d}"
    for person, index in zip(
      heldout.photos.person, heldout.indices, strict=True
    )
  ]


def photos_with_albedo(
  heldout: HeldOut, albedo: str
) -> UInt8[np.ndarray, "P 112 96 3"]:
  """The same photos with skin, hair and eyes coloured another way."""
  if albedo == heldout.world.albedo:
    return np.asarray(heldout.photos.image)
  world = heldout.world.replace(albedo=albedo)
  return np.asarray(photos_of(world, heldout.seed, heldout.indices).image)


def true_shapes(
  heldout: HeldOut, rows: Int[np.ndarray, "B"]
) -> tuple[Float[np.ndarray, "B V 3"], Float[np.ndarray, "B V 3"]]:
  """The photos' own true shapes, and the people's true neutral ones, mm."""
  truth = truth_of(heldout)
  shape, identity_shape = truth.shapes(truth.data, jnp.asarray(rows))
  return np.asarray(shape), np.asarray(identity_shape)


def score_heldout(
  heldout: HeldOut, networks: Mapping[str, Network]
) -> dict[str, ShapeScores]:
  """Scores the mean shape, both landmark fits, and the networks."""
  return score_shapes(
    truth_of(heldout),
    shape_methods(heldout, networks),
    heldout.num_photos,
    np.asarray(heldout.fitter.landmark_vertices),
  )


def shape_methods(
  heldout: HeldOut, networks: Mapping[str, Network]
) -> dict[str, Method]:
  """What `score_heldout` scores, by name."""
  return photo_methods(
    heldout.fitter,
    np.asarray(heldout.photos.image),
    {SINGLE_FIT: heldout.single, MULTI_FIT: heldout.multi},
    networks,
  )


def photo_methods(
  fitter: MorphableModel,
  images: UInt8[np.ndarray, "P 112 96 3"],
  fits: Mapping[str, ImageFits],
  networks: Mapping[str, Network],
) -> dict[str, Method]:
  """The mean shape, landmark fits, and networks, by name.

  Args:
    fitter: Of the fits; without any its mean shape alone is used.
    images: What the networks see.
    fits: Of the same photos, by name.
    networks: By name.
  """
  fitter = jax.tree.map(jnp.asarray, fitter)
  crops = jnp.asarray(images)
  methods = {MEAN_SHAPE: Method(_mean_shapes, fitter.mean_shape)}
  for name, fit in fits.items():
    methods[name] = Method(_fitted_shapes, (fitter, *_codes(fit)))
  for name, network in networks.items():
    methods[name] = Method(
      functools.partial(_network_shapes, model=network.model),
      (jax.tree.map(jnp.asarray, network.params), crops),
    )
  return methods


def _codes(fits: ImageFits) -> tuple[Array, Array]:
  return (
    jnp.asarray(fits.identity_coefficients),
    jnp.asarray(fits.expression_coefficients),
  )


def truth_of(heldout: HeldOut) -> Method:
  """The true shapes, as something that has shapes to show."""
  seed = jnp.uint32(heldout.seed)
  return Method(
    _true_shapes, (heldout.world, seed, jnp.asarray(heldout.indices))
  )


@jax.jit
def _true_shapes(
  data: tuple[SyntheticWorld, Array, Array], rows: Array
) -> tuple[Array, Array]:
  world, seed, indices = data
  # Nothing is rendered: what is not returned is not computed under jit.
  photos = render_photos(world, seed, indices[rows])
  return photos.shape, photos.identity_shape


@jax.jit
def _mean_shapes(mean_shape: Array, rows: Array) -> tuple[Array, Array]:
  mean = jnp.broadcast_to(mean_shape[None], (len(rows), *mean_shape.shape))
  return mean, mean


@jax.jit
def _fitted_shapes(
  data: tuple[MorphableModel, Array, Array], rows: Array
) -> tuple[Array, Array]:
  fitter, alpha, beta = data
  neutral = jnp.zeros_like(beta[rows])
  return (
    synthesize_shape(fitter, alpha[rows], beta[rows]),
    synthesize_shape(fitter, alpha[rows], neutral),
  )


@functools.partial(jax.jit, static_argnames=("model",))
def _network_shapes(
  data: tuple[Any, Array], rows: Array, *, model: FaceModel
) -> tuple[Array, Array]:
  params, images = data
  faces = reconstruct(params, images[rows], model=model)
  return faces.shape, faces.identity_shape
