"""The demo's page: gates and faces, then what the evaluations show."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import shlex

import jax
import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet
from disentangle3d.evaluation.reconstruction import shape_error
from disentangle3d.evaluation.rows import in_batches
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.machine import machine_name, package_versions
from disentangle3d.reporting.figures import heat_map
from disentangle3d.reporting.html_page import (
  Block,
  Picture,
  Section,
  Table,
  format_number,
  page,
  write_page,
)
from disentangle3d.reporting.pictures import contact_sheet, enlarge
from disentangle3d.training.export import Network
from experiments.configs.default import PHASES
from experiments.measures.reconstruction import SetResults
from experiments.measures.verification import FaceResults
from experiments.pages.faces import Face, FacePictures, face_row, loss_figures
from experiments.pages.reconstruction import set_sections
from experiments.pages.verification import face_sections
from experiments.sets.heldout import (
  MEAN_SHAPE,
  MULTI_FIT,
  SINGLE_FIT,
  HeldOut,
  shape_methods,
  truth_of,
)
from experiments.study.gates import (
  AFTER_JOINT,
  AFTER_PRETRAINING,
  CONTROL,
  Gate,
)

_FACES = 6
_PHOTOS_SHOWN = 40
_DIFFERENCES = (
  (AFTER_JOINT, AFTER_PRETRAINING),
  (AFTER_JOINT, CONTROL),
  (AFTER_PRETRAINING, MEAN_SHAPE),
  (AFTER_PRETRAINING, SINGLE_FIT),
)


@dataclasses.dataclass(frozen=True, eq=False)
class ShownFaces:
  """Some of the held-out photos, and what the network after III makes of them.

  Attributes:
    faces: One photo each of N people.
    truths: Their true shapes, `[N, V, 3]`, mm.
    errors_mm: Distance of each vertex to the truth, `[N, V]`; NaN beyond 95 mm
      from the nose tip.
  """

  faces: Sequence[Face]
  truths: np.ndarray
  errors_mm: np.ndarray


def faces_to_show(heldout: HeldOut, network: Network) -> ShownFaces:
  """One photo of each of the first people, at yaws from 0 upwards."""
  photos, fits = heldout.photos, heldout.multi
  yaw_deg = np.degrees(np.abs(photos.yaw_rad))
  chosen = []
  for number, person in enumerate(np.unique(photos.person)[:_FACES]):
    theirs = np.flatnonzero(photos.person == person)
    chosen.append(theirs[np.argmin(np.abs(yaw_deg[theirs] - 12 * number))])
  rows = np.array(chosen)
  methods = shape_methods(heldout, {AFTER_JOINT: network})
  (made, neutral), (fitted, _), (truths, _) = (
    in_batches(method.make, rows, _FACES)
    for method in (methods[AFTER_JOINT], methods[MULTI_FIT], truth_of(heldout))
  )
  error = shape_error(
    made, truths, landmark_vertices=np.asarray(heldout.fitter.landmark_vertices)
  )
  faces = [
    Face(
      title=f"person {photos.person[row]}, yaw {_whole_degrees(yaw)}",
      image=np.asarray(photos.image[row]),
      landmarks=np.asarray(photos.landmarks[row]),
      visibility=np.asarray(photos.visibility[row]),
      fit=fitted[place],
      fit_camera=jax.tree.map(lambda leaf, r=row: leaf[r], fits.camera),
      shape=made[place],
      identity_shape=neutral[place],
    )
    for place, (row, yaw) in enumerate(
      zip(rows, photos.yaw_rad[rows], strict=True)
    )
  ]
  errors = np.where(error.inside, error.distance_mm, np.nan)
  return ShownFaces(faces, truths, errors)


def _whole_degrees(angle_rad: float) -> str:
  return f"{format_number(float(np.degrees(angle_rad)), digits=0)}°"


def write_report(
  path: pathlib.Path,
  photos: SetResults,
  verified: Mapping[str, FaceResults],
  gates: Sequence[Gate],
  shown: ShownFaces,
  pictures: Sequence[FacePictures],
  *,
  runs: Mapping[str, pathlib.Path],
  settings: SyntheticSet,
  seconds: Mapping[str, float],
) -> None:
  """Writes the page.

  Args:
    path: Where to.
    photos: 3D errors on people never seen.
    verified: Verification of the same photos, by albedo.
    gates: What the figures must be.
    shown: Faces to show.
    pictures: Of those faces.
    runs: Workdirs whose losses are drawn, by name.
    settings: What the world is made of.
    seconds: Wall-clock time of each stage so far.
  """
  model = photos.heldout.fitter
  rows = [(gate.text, "passed" if gate.passed else "FAILED") for gate in gates]
  sections = [
    Section("Gates", [Table(("gate", ""), rows, text_columns=(0, 1))]),
    Section("Faces never seen", [face_row(row) for row in pictures]),
    Section("Where the error is", [_heat_map(shown, model)]),
    *set_sections(photos, _DIFFERENCES),
    *(part for faces in verified.values() for part in face_sections(faces)),
    Section("Losses", loss_figures(runs, PHASES)),
    Section("The people", [_people(photos.heldout)]),
    Section("This run", _about(model, settings, seconds)),
  ]
  subtitle = (
    f"{model.name}, {model.num_vertices:,} vertices,"
    f" {model.identity_dim} + {model.expression_dim} coefficients"
  )
  write_page(path, page("disentangle3d demo", sections, subtitle=subtitle))


def _heat_map(shown: ShownFaces, model: MorphableModel) -> Picture:
  chart = heat_map(
    shown.truths,
    np.asarray(model.triangles),
    shown.errors_mm,
    labels=[face.title for face in shown.faces],
  )
  text = (
    f"{AFTER_JOINT}: distance to the truth, drawn on the true shapes; grey is"
    " beyond 95 mm from the nose tip"
  )
  return Picture(chart, text)


def _people(heldout: HeldOut) -> Picture:
  crops = [enlarge(crop, 2) for crop in heldout.photos.image[:_PHOTOS_SHOWN]]
  text = "Held-out people, ten photos each; the network never saw them"
  return Picture(contact_sheet(crops, columns=10), text, width_px=1000)


def _about(
  model: MorphableModel, settings: SyntheticSet, seconds: Mapping[str, float]
) -> list[Block]:
  words = ["python", "-m", "experiments.demo", f"--seed={settings.seed}"]
  if settings.morphable_model is not None:
    words.append(f"--morphable_model={settings.morphable_model}")
  facts = [
    ("machine", machine_name()),
    *package_versions(
      ("disentangle3d", "jax", "jaxlib", "flax", "numpy")
    ).items(),
    ("3DMM", f"{model.name}; {model.source}; licence {model.licence}"),
    ("command", shlex.join(words)),
  ]
  times = [(stage, f"{took:.0f}") for stage, took in seconds.items()]
  return [
    Table(("", ""), facts, text_columns=(0, 1)),
    Table(("stage", "seconds"), times, caption="Wall clock, this run"),
  ]
