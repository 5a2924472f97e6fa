r"""The paper's reconstruction tables on people never trained on.

    python -m experiments.evaluate_reconstruction --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --network="control: III without L_C=runs/demo/control" \
      --output=runs/demo/evaluation/reconstruction

Renders the synthetic counterparts of MICC and BU-3DFE (`synthetic_sets`),
scores networks, landmark fits, mean shape, other methods' meshes and the best
3DMM projection of the truth, and writes a folder for `experiments.report`.
Real scans (`scan_sets`) come beside them or instead:

    --florence=Florence --florence_landmarks=MICC_landmarks \
      --florence_frames=frames --florence_aligned=aligned     Table 2
    --bu3dfe=BU3DFE --bu3dfe_aligned=aligned                  Fig. 6 and 7
    --bu3dfe=BU3DFE                                           Table 1

Their aligned photos are what align_faces made of them; Table 1's are rendered
here. `--write_photos` writes the photos, for other methods to work on.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
import pathlib

from absl import flags
from jaxtyping import UInt8
import numpy as np

from data_prep.datasets.synthetic_set import settings_of, world_of
from data_prep.stages import command_line
from disentangle3d.evaluation.shape_scores import ShapeScores
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
)
from disentangle3d.output_files import new_folder
from disentangle3d.reporting.html_page import Section
from disentangle3d.reporting.pictures import picture_png
from disentangle3d.training.dataset import read_manifest
from disentangle3d.training.export import Export
from experiments.measures.reconstruction import measure_set
from experiments.measures.scans import make_maker, measure_scans
from experiments.pages.findings import (
  PAGE,
  Findings,
  check_output,
  save_findings,
)
from experiments.pages.paper_tables import Measured
from experiments.pages.reconstruction import paper_rows, set_sections
from experiments.pages.scans import scan_rows, scan_sections
from experiments.sets.heldout import photo_names
from experiments.sets.meshes import MESHES_HELP, MeshFolder, read_mesh_folders
from experiments.sets.networks import (
  NETWORK_HELP,
  check_vertices,
  read_networks,
)
from experiments.sets.scans import (
  ScanSet,
  bu3dfe_set,
  bu3dfe_yaw_set,
  florence_set,
)
from experiments.sets.synthetic import TEST_SETS
from experiments.training.host import keep_freed_memory

Pairs = Sequence[tuple[str, str]]


def _define_flags() -> None:
  flags.DEFINE_string(
    "dataset", None, "A dataset of data_prep.render_synthetic."
  )
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_multi_string("meshes", [], MESHES_HELP)
  flags.DEFINE_multi_enum(
    "set", list(TEST_SETS), list(TEST_SETS), "Which synthetic sets."
  )
  flags.DEFINE_integer("people", 0, "Held-out people a set; 0 takes all.")
  flags.DEFINE_integer(
    "bound_people", 4, "People whose true shapes are projected (slow)."
  )
  flags.DEFINE_integer(
    "protocol_photos",
    10,
    "Photos of the first synthetic set, and of each set of scans, to compare"
    " by every protocol (slow).",
  )
  flags.DEFINE_string(
    "write_photos", None, "A new folder for the photos of the sets, PNG."
  )
  flags.DEFINE_string("florence", None, "MICC Florence: subject_01 ...")
  flags.DEFINE_string(
    "florence_landmarks", None, "The .ljson files; beside the scans if unset."
  )
  flags.DEFINE_string(
    "florence_frames", None, "The videos' frames; in --florence if unset."
  )
  flags.DEFINE_string(
    "florence_aligned", None, "What align_faces made of the frames."
  )
  flags.DEFINE_string("scene", "PTZ-Outdoor", "Of Florence's videos.")
  flags.DEFINE_integer(
    "frames_per_person", 10, "Of Florence, evenly taken; 0 takes all."
  )
  flags.DEFINE_string("bu3dfe", None, "BU-3DFE: F0001 to M0044.")
  flags.DEFINE_string(
    "bu3dfe_aligned", None, "What align_faces made of its F2D photos."
  )
  flags.DEFINE_string(
    "morphable_model",
    None,
    "The 3DMM of the networks, .npz, for landmark fits of photos of scans.",
  )


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the means."""
  values = flags.FLAGS
  keep_freed_memory()
  check_output(values.output)
  _check(values)
  networks = read_networks(values.network)
  pairs = list(itertools.combinations(reversed(networks), 2))
  sections: list[Section] = []
  measured: dict[str, Measured] = {}
  for part, rows in (
    *_synthetic(values, networks, pairs),
    *_scans(values, networks, pairs),
  ):
    sections += part
    for key, more in rows.items():
      measured[key] = {**measured.get(key, {}), **more}
  output = pathlib.Path(values.output)
  save_findings(output, Findings("Reconstruction", sections, measured))
  print(f"evaluate_reconstruction: open {output / PAGE}")


def _check(values: flags.FlagValues) -> None:
  if (
    values.dataset is None and values.florence is None and values.bu3dfe is None
  ):
    raise ValueError("expected at least one of --dataset, --florence, --bu3dfe")
  for flag, needed in (
    ("florence", "florence_aligned"),
    ("florence_aligned", "florence"),
    ("florence_landmarks", "florence"),
    ("florence_frames", "florence"),
    ("bu3dfe_aligned", "bu3dfe"),
  ):
    if values[flag].value is not None and values[needed].value is None:
      raise ValueError(f"--{flag}: expected --{needed} beside it")
  if values.write_photos is not None:
    photos = pathlib.Path(values.write_photos)
    if photos.is_file() or (photos.is_dir() and any(photos.iterdir())):
      raise ValueError(
        f"--write_photos: {photos}: expected a new or an empty folder"
      )
  for flag in (
    "people",
    "bound_people",
    "protocol_photos",
    "frames_per_person",
  ):
    if values[flag].value < 0:
      raise ValueError(
        f"--{flag}: expected at least 0, got {values[flag].value}"
      )


def _synthetic(
  values: flags.FlagValues, networks: Mapping[str, Export], pairs: Pairs
) -> Iterator[tuple[list[Section], Measured]]:
  if values.dataset is None:
    return
  settings = settings_of(read_manifest(values.dataset), values.dataset)
  world, fitter = world_of(settings)
  check_vertices(networks, fitter.num_vertices, "dataset's 3DMM")
  meshes = _meshes(values, next(iter(networks.values())))
  for place, name in enumerate(values.set):
    results = measure_set(
      name,
      settings,
      world,
      fitter,
      networks,
      meshes=meshes,
      people=values.people,
      bound_people=values.bound_people,
      protocol_photos=values.protocol_photos if place == 0 else 0,
    )
    _print_means(name, results.scores)
    heldout = results.heldout
    _write_photos(values, name, photo_names(heldout), heldout.photos.image)
    yield set_sections(results, pairs), paper_rows(results)


def _scans(
  values: flags.FlagValues, networks: Mapping[str, Export], pairs: Pairs
) -> Iterator[tuple[list[Section], Measured]]:
  fitter = _fitter(values, networks)
  meshes = _meshes(values, next(iter(networks.values())))
  for faces in _scan_sets(values):
    names = [photo.name for photo in faces.photos]
    images = np.stack([photo.image for photo in faces.photos])
    _write_photos(values, faces.name, names, images)
    maker = make_maker(
      faces.photos,
      networks,
      fitter=fitter,
      folders=[
        dataclasses.replace(one, folder=one.folder / faces.name)
        for one in meshes
      ],
    )
    results = measure_scans(
      faces, maker, protocol_photos=values.protocol_photos
    )
    _print_means(faces.name, results.scores)
    yield scan_sections(results, pairs), scan_rows(results)


def _scan_sets(values: flags.FlagValues) -> Iterator[ScanSet]:
  if values.florence is not None:
    yield florence_set(
      values.florence,
      aligned=values.florence_aligned,
      landmarks=values.florence_landmarks,
      frames=values.florence_frames,
      scene=values.scene,
      photos_per_person=values.frames_per_person,
    )
  if values.bu3dfe is not None:
    if values.bu3dfe_aligned is not None:
      yield bu3dfe_set(values.bu3dfe, aligned=values.bu3dfe_aligned)
    yield bu3dfe_yaw_set(values.bu3dfe)


def _fitter(
  values: flags.FlagValues, networks: Mapping[str, Export]
) -> MorphableModel | None:
  sizes = {one.model.num_vertices for one in networks.values()}
  if len(sizes) > 1:
    raise ValueError(
      f"--network: expected networks of one mesh, got {sorted(sizes)} vertices"
    )
  if values.morphable_model is None:
    return None
  fitter = load_morphable_model(values.morphable_model)
  check_vertices(networks, fitter.num_vertices, "--morphable_model's file")
  return fitter


def _meshes(values: flags.FlagValues, network: Export) -> list[MeshFolder]:
  return read_mesh_folders(
    values.meshes,
    network.landmark_vertices,
    network.triangles,
    network.model.num_vertices,
  )


def _print_means(where: str, scores: Mapping[str, ShapeScores]) -> None:
  for method, one in scores.items():
    known = one.within[np.isfinite(one.within)]
    mean = f"{known.mean():.2f} mm" if known.size else "–"
    print(f"{where}: {method}: {mean}", flush=True)


def _write_photos(
  values: flags.FlagValues,
  name: str,
  names: Sequence[str],
  images: UInt8[np.ndarray, "P 112 96 3"],
) -> None:
  if values.write_photos is None:
    return
  with new_folder(pathlib.Path(values.write_photos) / name) as partial:
    for photo, image in zip(names, images, strict=True):
      path = partial / f"{photo}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(picture_png(image))


if __name__ == "__main__":
  command_line.run(main, _define_flags)
