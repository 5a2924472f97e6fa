"""Scores every method on the University of York's scans."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools

import numpy as np

from data_prep.fitting.eos_fitter import EosFitter
from disentangle3d.evaluation.side_by_side import OUTLINE_MEDIAN, OUTLINE_RMSE
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
)
from disentangle3d.fitting.calibration_choice import (
  AUTO,
  NONE,
  calibrated_model,
)
from disentangle3d.reporting.html_page import Section, interval
from disentangle3d.training.export import Network
from disentangle3d.types import UserError
from experiments.evaluations.crops import write_crops
from experiments.measures.processes import map_in_processes
from experiments.measures.scans import Maker, make_maker
from experiments.measures.york import (
  YorkResults,
  measure_york,
  measure_york_yaw,
)
from experiments.measures.york_fits import measure_fit_parts
from experiments.pages.paper_tables import Measured
from experiments.pages.york import (
  fit_parts_section,
  york_rows,
  york_sections,
  york_yaw_rows,
  york_yaw_sections,
)
from experiments.sets.alignment import PhotoSource
from experiments.sets.meshes import MeshFolder, checked_folder
from experiments.sets.york import YorkSet, aligned_york, york_set, york_yaw_set


@dataclasses.dataclass(frozen=True)
class YorkTest:
  """What to score on the scans.

  Attributes:
    sources: Folders or archives; none at all leaves the scans out.
    split: "development" or "test".
    crops: Where the photographs' crops are, or where to make them.
    landmark_calibration: Of landmark fits, as `calibrated_model` takes it.
    eos_model: The 3DMM that eos-py fits, .npz, or None.
    yaw: Whether the scans are rendered at every yaw as well.
    parts: Whether fits with parts of the landmark calibration are scored too.
    people: The first so many; 0 takes all.
    processes: That compare; None takes one a core.
  """

  sources: Sequence[str] = ()
  split: str = "test"
  crops: PhotoSource = PhotoSource("york")
  landmark_calibration: str = AUTO
  eos_model: str | None = None
  yaw: bool = False
  parts: bool = False
  people: int = 0
  processes: int | None = None


def check_york(test: YorkTest) -> None:
  """Refuses what `evaluate_york` would after the other sets are measured.

  Raises:
    UserFileNotFoundError, UserError: --eos_model is no such file; or parts of
      a calibration are to be scored, and there is to be none.
    UserModuleNotFoundError: eos-py is not installed.
  """
  if not test.sources:
    return
  if test.parts and test.landmark_calibration == NONE:
    raise UserError("--york_parts: expected a landmark calibration, got none")
  if test.eos_model:
    EosFitter(load_morphable_model(test.eos_model))


def evaluate_york(
  test: YorkTest,
  networks: Mapping[str, Network],
  fitter: MorphableModel | None,
  meshes: Sequence[MeshFolder],
  write_photos: str | None = None,
) -> Iterator[tuple[list[Section], Measured]]:
  """Scores networks, fits, peers and the lower bound; prints their means.

  Args:
    test: What to score.
    networks: By the names that tables print.
    fitter: The 3DMM of landmark fits and of the lower bound; None has none.
    meshes: Other methods' meshes.
    write_photos: A new folder for the photos of the sets, or None.

  Yields:
    The sections of a set, and its rows of the paper's tables.

  Raises:
    UserFileNotFoundError, UserError: As `york_set`; or parts of a landmark
      calibration are to be scored, and there is none.
    UserModuleNotFoundError: eos-py or the extra `detect` is not installed.
  """
  if not test.sources:
    return
  faces = york_set(
    test.sources,
    aligned=aligned_york(test.sources, test.crops, test.split),
    split=test.split,
    people=test.people,
  )
  run = functools.partial(map_in_processes, processes=test.processes)
  for reason, count in faces.rejected.items():
    print(f"{faces.title}: left out, {reason}: {count}", flush=True)

  def maker_of(some: YorkSet) -> Maker:
    names = [photo.name for photo in some.photos]
    images = np.stack([photo.image for photo in some.photos])
    write_crops(write_photos, some.name, names, images)
    return make_maker(
      some.photos,
      networks,
      fitter=fitter,
      landmark_calibration=test.landmark_calibration,
      folders=[checked_folder(one, some.name, names) for one in meshes],
    )

  results = measure_york(
    faces,
    maker_of(faces),
    fitter=fitter,
    eos_model=load_morphable_model(test.eos_model) if test.eos_model else None,
    run=run,
  )
  _print_means(results)
  yield york_sections(results), york_rows(results)
  if test.parts and fitter is not None:
    calibrated = calibrated_model(
      fitter,
      test.landmark_calibration,
      detectors={photo.detector for photo in faces.photos},
    )
    table = measure_fit_parts(faces, calibrated, run=run)
    yield [fit_parts_section(faces.title, table)], {}
  if test.yaw:
    turned = york_yaw_set(faces)
    results = measure_york_yaw(turned, maker_of(turned), run=run)
    _print_means(results)
    yield york_yaw_sections(results), york_yaw_rows(results)


def _print_means(results: YorkResults) -> None:
  for name in results.table.scores:
    median, rmse = (
      interval(results.table.interval(name, column))
      for column in (OUTLINE_MEDIAN, OUTLINE_RMSE)
    )
    print(
      f"{results.set.title}: {name}: median {median}, RMSE {rmse} mm",
      flush=True,
    )
