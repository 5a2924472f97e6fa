"""Measures locators of landmarks and writes the findings."""

from collections.abc import Iterator, Mapping, Sequence
import pathlib

from data_prep.faces.locators import Locator
from disentangle3d.evaluation.landmark_scores import balanced_mean, by_yaw
from disentangle3d.reporting.html_page import Section
from experiments.measures.located import measure_landmarks
from experiments.pages.findings import PAGE, save_as_found
from experiments.pages.landmarks import landmark_sections
from experiments.pages.paper_tables import Measured
from experiments.sets.landmark_sets import LandmarkSet

TITLE = "Landmarks"


def evaluate_landmarks(
  output: str, sets: Sequence[LandmarkSet], locators: Mapping[str, Locator]
) -> pathlib.Path:
  """Measures every locator on every set; prints the means by yaw.

  Args:
    output: The folder to write, new or an earlier evaluation's.
    sets: Photos whose points are known.
    locators: By the names that tables print.

  Returns:
    The page in that folder.
  """
  save_as_found(output, TITLE, _found(sets, locators))
  return pathlib.Path(output) / PAGE


def _found(
  sets: Sequence[LandmarkSet], locators: Mapping[str, Locator]
) -> Iterator[tuple[list[Section], Measured]]:
  for faces in sets:
    results = measure_landmarks(faces, locators)
    for name, errors in results.errors.items():
      bins = by_yaw(errors, faces.yaw_deg)
      means = " / ".join(f"{one.mean:.2f}" for one in bins)
      print(
        f"{faces.name}: {name}: {means} by yaw, balanced"
        f" {balanced_mean(bins):.2f} %",
        flush=True,
      )
    yield landmark_sections(results), {}
