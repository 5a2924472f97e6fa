r"""The paper's pictures: Fig. 9 (bases), Fig. 5 and 8 (galleries), Fig. 1.

    python -m experiments.visualize --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --output=runs/demo/evaluation/pictures

Networks are named in the order of training: Fig. 9 shows the bases of all, the
galleries what the last one makes of people it never saw. `--dataset` takes the
synthetic people, with their true shapes; `--photos` the held-out people of a
dataset of photographs. Both may be given, or neither. Writes a folder for
`experiments.report`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from data_prep import command_line
from data_prep.synthetic_set import SyntheticSet, world_of
from disentangle3d.evaluation.scans import Scan, scan_of
from disentangle3d.inference import reconstruct
from disentangle3d.reporting.html_page import Section
from disentangle3d.training.dataset import open_dataset, read_manifest
from disentangle3d.training.export import Export
from disentangle3d.training.input_pipeline import RecordReader
from disentangle3d.training.records import decode_image
from experiments.decoder_bases import bases_section, read_bases
from experiments.evaluated_networks import (
  NETWORK_HELP,
  check_vertices,
  read_networks,
  settings_of,
)
from experiments.gallery_faces import (
  GalleryPhoto,
  photo_gallery,
  read_meshes,
  scans_of,
  strip,
)
from experiments.heldout import (
  SINGLE_FIT,
  heldout_people,
  photo_names,
  shape_methods,
  true_shapes,
)
from experiments.host_memory import keep_freed_memory
from experiments.mesh_folders import (
  MESHES_HELP,
  MeshFolder,
  read_mesh_folders,
)
from experiments.reconstruction_sections import EXPRESSION_NAMES
from experiments.saved_sections import (
  PAGE,
  Findings,
  check_output,
  save_findings,
)
from experiments.synthetic_sets import EXPRESSION, OUTDOOR, world_of_set

TRUTH = "truth"
_STRIP_PHOTOS = 6


def _define_flags() -> None:
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_string(
    "dataset", None, "A dataset of data_prep.render_synthetic."
  )
  flags.DEFINE_string("photos", None, "A dataset of build_dataset.")
  flags.DEFINE_multi_string("meshes", [], MESHES_HELP)
  flags.DEFINE_integer("bases", 5, "Basis vectors of each decoder.")
  flags.DEFINE_integer("people", 3, "People in Fig. 5.")
  flags.DEFINE_integer("size_px", 512, "Side of every picture.")


def main() -> None:
  """Reads the flags, renders, writes the folder."""
  values = flags.FLAGS
  keep_freed_memory()
  check_output(values.output)
  networks = read_networks(values.network)
  _check(values, networks)
  size = values.size_px
  name, network = list(networks.items())[-1]
  sections: list[Section] = []
  meshes = read_mesh_folders(
    values.meshes,
    network.landmark_vertices,
    network.triangles,
    network.model.num_vertices,
  )
  if values.dataset is not None:
    settings = settings_of(read_manifest(values.dataset), values.dataset)
    strip_people = min(_STRIP_PHOTOS, settings.heldout_people)
    people = max(values.people, strip_people)
    outdoor = synthetic_photos(
      OUTDOOR, settings, {name: network}, meshes, people=people
    )
    expressions = synthetic_photos(
      EXPRESSION, settings, {name: network}, meshes, people=1
    )
    sections += [
      _section("people never trained on", network, name, outdoor, values),
      _expressions(network, expressions, size),
    ]
  if values.photos is not None:
    photographs = dataset_photos(
      values.photos,
      {name: network},
      meshes,
      people=max(values.people, _STRIP_PHOTOS),
    )
    sections.append(_section("photographs", network, name, photographs, values))
  print("visualize: galleries drawn", flush=True)
  bases = bases_section(networks, count=values.bases, size_px=size)
  sections.insert(0, bases)
  output = pathlib.Path(values.output)
  save_findings(output, Findings("Pictures", sections, {}))
  print(f"visualize: open {output / PAGE}")


def synthetic_photos(
  set_name: str,
  settings: SyntheticSet,
  networks: Mapping[str, Export],
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
      image=photos.image[row],
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
  networks: Mapping[str, Export],
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


def _section(
  what: str,
  network: Export,
  name: str,
  photos: Sequence[GalleryPhoto],
  values: flags.FlagValues,
) -> Section:
  mean = _mean(network)
  return Section(
    f"Fig. 1 and 5: {what}",
    [
      strip(
        photos[:_STRIP_PHOTOS],
        mean,
        name,
        caption=f"Fig. 1: {what}, and the full and identity shapes of {name}",
        size_px=values.size_px,
      ),
      photo_gallery(
        photos[: values.people],
        mean,
        caption=(
          f"Fig. 5: {what}; every shape laid over the mean shape by its"
          " landmarks, at one scale"
        ),
        size_px=values.size_px,
      ),
    ],
  )


def _expressions(
  network: Export, photos: Sequence[GalleryPhoto], size_px: int
) -> Section:
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


def _mean(network: Export) -> Scan:
  return scan_of(
    np.asarray(network.params["mean_shape"], np.float32).reshape(-1, 3),
    network.triangles,
    network.landmark_vertices,
  )


def _check(values: flags.FlagValues, networks: Mapping[str, Export]) -> None:
  for flag in ("bases", "people", "size_px"):
    if values[flag].value < 1:
      raise ValueError(
        f"--{flag}: expected at least 1, got {values[flag].value}"
      )
  if values.meshes and not (values.dataset or values.photos):
    raise ValueError("--meshes: expected --dataset or --photos beside it")
  for dataset in (values.dataset, values.photos):
    if dataset is not None:
      read_manifest(dataset)
  for network in networks.values():
    read_bases(network, values.bases)
  sizes = {name: one.model.num_vertices for name, one in networks.items()}
  if len(set(sizes.values())) > 1:
    raise ValueError(
      f"--network: expected networks of one mesh, got {sizes} vertices"
    )


if __name__ == "__main__":
  command_line.run(main, _define_flags)
