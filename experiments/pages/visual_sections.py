"""Pictures of a set's faces by several networks."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet, world_of
from disentangle3d.evaluation.scans import Scan, scan_of
from disentangle3d.inference import reconstruct
from disentangle3d.reporting.html_page import Section
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.export import Network
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import decode_image
from experiments.pages.galleries import (
  GalleryPhoto,
  photo_gallery,
  read_meshes,
  scans_of,
  strip,
)
from experiments.pages.reconstruction import EXPRESSION_NAMES
from experiments.sets.heldout import (
  SINGLE_FIT,
  heldout_people,
  photo_names,
  shape_methods,
  true_shapes,
)
from experiments.sets.meshes import MeshFolder
from experiments.sets.networks import check_vertices
from experiments.sets.synthetic import EXPRESSION, world_of_set

TRUTH = "truth"
STRIP_PHOTOS = 6


def synthetic_photos(
  set_name: str,
  settings: SyntheticSet,
  networks: Mapping[str, Network],
  meshes: Sequence[MeshFolder],
  *,
  people: int,
) -> list[GalleryPhoto]:
  """Photos of held-out people: one a person, or of one every expression.

  Args:
    set_name: `OUTDOOR` (the first photo of each person) or `EXPRESSION` (of
      one person the first photo of each class).
    settings: Of the dataset.
    networks: Whose shapes to show.
    meshes: Other methods', in a folder of the set's name.
    people: How many.

  Raises:
    ValueError: There are fewer people, a network has another mesh than the
      dataset's 3DMM, or the meshes are broken.
  """
  world, fitter = world_of(settings)
  check_vertices(networks, fitter.num_vertices, "dataset's 3DMM")
  heldout = heldout_people(
    *world_of_set(set_name, settings, world, people), fitter
  )
  photos = heldout.photos
  by_class = set_name == EXPRESSION
  kinds = photos.expression_class if by_class else photos.person
  _, rows = np.unique(kinds, return_index=True)
  rows = rows.astype(np.int32)
  titles = [
    EXPRESSION_NAMES[photos.expression_class[row]]
    if by_class
    else f"person {photos.person[row]}"
    for row in rows
  ]
  topology = np.asarray(fitter.triangles), np.asarray(fitter.landmark_vertices)
  truth, neutral_truth = (
    scans_of(shape, *topology) for shape in true_shapes(heldout, rows)
  )
  others, neutral_others = read_meshes(
    [dataclasses.replace(one, folder=one.folder / set_name) for one in meshes],
    [photo_names(heldout)[row] for row in rows],
  )
  made = {}
  for name, method in shape_methods(heldout, networks).items():
    if name == SINGLE_FIT or name in networks:
      shapes = method.shapes(method.data, jnp.asarray(rows))
      made[name] = [scans_of(np.asarray(one), *topology) for one in shapes]
  return [
    GalleryPhoto(
      title=titles[place],
      image=np.asarray(photos.image[row]),
      shapes={TRUTH: truth[place]}
      | others[place]
      | {name: whole[place] for name, (whole, _) in made.items()},
      identity_shapes={TRUTH: neutral_truth[place]}
      | neutral_others[place]
      | {name: neutral[place] for name, (_, neutral) in made.items()},
    )
    for place, row in enumerate(rows)
  ]


def dataset_photos(
  dataset: str | pathlib.Path,
  networks: Mapping[str, Network],
  meshes: Sequence[MeshFolder],
  *,
  people: int,
) -> list[GalleryPhoto]:
  """The first photo of each of the first held-out people of photographs.

  Raises:
    FileNotFoundError: A file of the dataset is missing.
    ValueError: The dataset or a mesh is damaged.
  """
  reader = RecordReader(open_dataset(dataset, "heldout"))
  records = reader.read_records(range(len(reader)))
  first: dict[str, int] = {}
  for row, record in enumerate(records):
    first.setdefault(record["subject"], row)
  rows = list(first.values())[:people]
  images = np.stack([decode_image(records[row]["image"]) for row in rows])
  others, neutral_others = read_meshes(
    meshes, [records[row]["image_id"] for row in rows]
  )
  made = {}
  for name, network in networks.items():
    faces = jax.jit(reconstruct, static_argnames="model")(
      network.params, images, model=network.model
    )
    made[name] = [
      scans_of(np.asarray(one), network.triangles, network.landmark_vertices)
      for one in (faces.shape, faces.identity_shape)
    ]
  return [
    GalleryPhoto(
      title=records[row]["subject"],
      image=images[place],
      shapes=others[place]
      | {name: whole[place] for name, (whole, _) in made.items()},
      identity_shapes=neutral_others[place]
      | {name: neutral[place] for name, (_, neutral) in made.items()},
    )
    for place, row in enumerate(rows)
  ]


def people_section(
  what: str,
  network: Network,
  name: str,
  photos: Sequence[GalleryPhoto],
  *,
  people: int,
  size_px: int,
) -> Section:
  """Fig. 1 and 5: what a network makes of people.

  Args:
    what: Whom the photos show.
    network: Whose mean shape all is laid over.
    name: Of the network, as the photos have it.
    photos: One a person.
    people: How many of them in Fig. 5.
    size_px: Side of every picture.
  """
  mean = _mean(network)
  return Section(
    f"Fig. 1 and 5: {what}",
    [
      strip(
        photos[:STRIP_PHOTOS],
        mean,
        name,
        caption=f"Fig. 1: {what}, and the full and identity shapes of {name}",
        size_px=size_px,
      ),
      photo_gallery(
        photos[:people],
        mean,
        caption=(
          f"Fig. 5: {what}; every shape laid over the mean shape by its"
          " landmarks, at one scale"
        ),
        size_px=size_px,
      ),
    ],
  )


def expressions_section(
  network: Network, photos: Sequence[GalleryPhoto], size_px: int
) -> Section:
  """Fig. 8: one person, every expression."""
  picture = photo_gallery(
    photos,
    _mean(network),
    caption=(
      "Fig. 8: one person never trained on, every expression; identity shapes"
      " should look alike"
    ),
    size_px=size_px,
  )
  return Section("Fig. 8: expressions", [picture])


def _mean(network: Network) -> Scan:
  return scan_of(
    np.asarray(network.params["mean_shape"], np.float32).reshape(-1, 3),
    network.triangles,
    network.landmark_vertices,
  )
