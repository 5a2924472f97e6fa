"""Scores networks on synthetic sets and real scans, and writes the findings."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
import pathlib

import numpy as np

from data_prep.datasets.synthetic_set import settings_of, world_of
from disentangle3d.evaluation.shape_scores import ShapeScores
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
)
from disentangle3d.fitting.calibration_choice import AUTO
from disentangle3d.reporting.html_page import Section
from disentangle3d.training.dataset import read_manifest
from disentangle3d.training.export import Network
from disentangle3d.types import UserError
from experiments.evaluations.crops import write_crops
from experiments.evaluations.york import YorkTest, check_york, evaluate_york
from experiments.measures.reconstruction import measure_set
from experiments.measures.scans import make_maker, measure_scans
from experiments.pages.findings import PAGE, save_as_found
from experiments.pages.paper_tables import Measured
from experiments.pages.reconstruction import paper_rows, set_sections
from experiments.pages.scans import scan_rows, scan_sections
from experiments.sets.heldout import photo_names
from experiments.sets.meshes import MeshFolder, read_mesh_folders
from experiments.sets.networks import check_vertices
from experiments.sets.scans import ScanFolders, read_scan_sets
from experiments.sets.synthetic import TEST_SETS

TITLE = "Reconstruction"

_Part = tuple[list[Section], Measured]


@dataclasses.dataclass(frozen=True)
class ReconstructionTest:
  """What to score networks on.

  Attributes:
    dataset: Of data_prep.render_synthetic; None leaves the synthetic sets out.
    sets: Which of `TEST_SETS`.
    people: Held-out people a synthetic set; 0 takes all.
    bound_people: People whose true shapes are projected.
    scans: Where scanned people are.
    york: What to score on the University of York's scans.
    morphable_model: The 3DMM of the networks, .npz, for landmark fits of
      photos of scans, or None.
    landmark_calibration: Of those fits, as `calibrated_model` takes it.
    meshes: Other methods' meshes, as NAME=FOLDER.
    protocol_photos: Photos of the first synthetic set, and of each set of
      scans, to compare by every protocol.
    write_photos: A new folder for the photos of the sets, or None.
  """

  dataset: str | None = None
  sets: Sequence[str] = tuple(TEST_SETS)
  people: int = 0
  bound_people: int = 4
  scans: ScanFolders = ScanFolders()
  york: YorkTest = YorkTest()
  morphable_model: str | None = None
  landmark_calibration: str = AUTO
  meshes: Sequence[str] = ()
  protocol_photos: int = 10
  write_photos: str | None = None


def evaluate_reconstruction(
  output: str, networks: Mapping[str, Network], test: ReconstructionTest
) -> pathlib.Path:
  """Scores networks, fits, meshes and mean shape; prints their means.

  Args:
    output: The folder to write, new or an earlier evaluation's.
    networks: By the names that tables print, in the order of training.
    test: What to score them on.

  Returns:
    The page in that folder.

  Raises:
    UserFileNotFoundError: A file is missing.
    UserError: A file is damaged, or the networks are of another mesh than
      what they are scored on.
  """
  pairs = list(itertools.combinations(reversed(list(networks)), 2))
  fitter = _read_fitter(test, networks)
  meshes = _read_meshes(test, networks, fitter)
  check_york(test.york)
  parts = itertools.chain(
    _synthetic(test, networks, meshes, pairs),
    _scans(test, networks, fitter, meshes, pairs),
    evaluate_york(test.york, networks, fitter, meshes, test.write_photos),
  )
  save_as_found(output, TITLE, parts)
  return pathlib.Path(output) / PAGE


def _synthetic(
  test: ReconstructionTest,
  networks: Mapping[str, Network],
  meshes: Sequence[MeshFolder],
  pairs: Sequence[tuple[str, str]],
) -> Iterator[_Part]:
  if test.dataset is None:
    return
  settings = settings_of(read_manifest(test.dataset), test.dataset)
  world, fitter = world_of(settings)
  check_vertices(networks, fitter.num_vertices, "dataset's 3DMM")
  for place, name in enumerate(test.sets):
    results = measure_set(
      name,
      settings,
      world,
      fitter,
      networks,
      meshes=meshes,
      people=test.people,
      bound_people=test.bound_people,
      protocol_photos=test.protocol_photos if place == 0 else 0,
    )
    _print_means(name, results.scores)
    heldout = results.heldout
    images = np.asarray(heldout.photos.image)
    write_crops(test.write_photos, name, photo_names(heldout), images)
    yield set_sections(results, pairs), paper_rows(results)


def _scans(
  test: ReconstructionTest,
  networks: Mapping[str, Network],
  fitter: MorphableModel | None,
  meshes: Sequence[MeshFolder],
  pairs: Sequence[tuple[str, str]],
) -> Iterator[_Part]:
  for faces in read_scan_sets(test.scans):
    names = [photo.name for photo in faces.photos]
    images = np.stack([photo.image for photo in faces.photos])
    write_crops(test.write_photos, faces.name, names, images)
    maker = make_maker(
      faces.photos,
      networks,
      fitter=fitter,
      landmark_calibration=test.landmark_calibration,
      folders=[
        dataclasses.replace(one, folder=one.folder / faces.name)
        for one in meshes
      ],
    )
    results = measure_scans(faces, maker, protocol_photos=test.protocol_photos)
    _print_means(faces.name, results.scores)
    yield scan_sections(results, pairs), scan_rows(results)


def _read_fitter(
  test: ReconstructionTest, networks: Mapping[str, Network]
) -> MorphableModel | None:
  sizes = {one.model.num_vertices for one in networks.values()}
  if len(sizes) > 1:
    raise UserError(
      f"--network: expected networks of one mesh, got {sorted(sizes)} vertices"
    )
  if test.morphable_model is None:
    return None
  fitter = load_morphable_model(test.morphable_model)
  check_vertices(networks, fitter.num_vertices, "--morphable_model's file")
  return fitter


def _read_meshes(
  test: ReconstructionTest,
  networks: Mapping[str, Network],
  fitter: MorphableModel | None,
) -> list[MeshFolder]:
  first = next(iter(networks.values()), None)
  mesh = fitter if first is None else first.mean_face()
  if mesh is None:
    raise UserError("expected --network, --morphable_model, or both")
  return read_mesh_folders(
    test.meshes,
    np.asarray(mesh.landmark_vertices),
    np.asarray(mesh.triangles),
    mesh.num_vertices,
  )


def _print_means(where: str, scores: Mapping[str, ShapeScores]) -> None:
  for method, one in scores.items():
    known = one.within[np.isfinite(one.within)]
    mean = f"{known.mean():.2f} mm" if known.size else "–"
    print(f"{where}: {method}: {mean}", flush=True)
