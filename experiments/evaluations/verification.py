"""Verifies faces by networks and their rivals, and writes the findings."""

from collections.abc import Iterator, Mapping, Sequence
import pathlib

import numpy as np

from disentangle3d.reporting.html_page import Section
from disentangle3d.training.export import Network
from disentangle3d.types import UserError
from experiments.measures.screening import KnownPeople
from experiments.measures.verification import Describe, measure_faces
from experiments.pages.findings import PAGE, save_as_found
from experiments.pages.paper_tables import Measured
from experiments.pages.verification import (
  face_rows,
  face_sections,
  screened_section,
)
from experiments.sets.faces import FaceSet

TITLE = "Verification"


def evaluate_verification(
  output: str,
  networks: Mapping[str, Network],
  sets: Sequence[FaceSet],
  *,
  described: Mapping[str, Describe],
  other_scores: Mapping[str, np.ndarray],
  trained_on: KnownPeople | None = None,
) -> pathlib.Path:
  """Verifies the faces of every set; prints the AUCs.

  Args:
    output: The folder to write, new or an earlier evaluation's.
    networks: By the names that tables print, in the order of training.
    sets: Whose faces.
    described: What gives features of texture, by name.
    other_scores: Other systems' scores to fuse with, by name; for one set.
    trained_on: Whom networks were trained on; what looks like one of them is
      left out in a further table.

  Returns:
    The page in that folder.

  Raises:
    UserError: There are scores and several sets, or scores of other pairs.
  """
  if other_scores and len(sets) > 1:
    raise UserError(f"--scores: expected one set of faces, got {len(sets)}")
  found = _found(networks, sets, described, other_scores, trained_on)
  save_as_found(output, TITLE, found)
  return pathlib.Path(output) / PAGE


def _found(
  networks: Mapping[str, Network],
  sets: Sequence[FaceSet],
  described: Mapping[str, Describe],
  other_scores: Mapping[str, np.ndarray],
  trained_on: KnownPeople | None,
) -> Iterator[tuple[list[Section], Measured]]:
  for faces in sets:
    results = measure_faces(
      faces, networks, described=described, other_scores=other_scores
    )
    sections = face_sections(results)
    if trained_on is not None:
      sections.append(screened_section(results, trained_on))
    for name, scored in results.rows.items():
      auc = scored.result.auc
      print(
        f"{faces.name}: {name}: AUC {auc.mean:.2f} ± {auc.std:.2f}", flush=True
      )
    yield sections, face_rows(results)
