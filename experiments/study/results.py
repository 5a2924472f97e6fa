"""Everything that is measured on people a study never trained on."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from data_prep.datasets.synthetic_set import photos_of
from disentangle3d.evaluation.pair_plans import PairPlan
from disentangle3d.evaluation.rows import evenly
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.geometry import flatten_vertices
from disentangle3d.training.export import FOLDER, Network, load_network
from disentangle3d.types import UserFileNotFoundError
from experiments.measures.disentanglement import (
  Disentanglement,
  measure_disentanglement,
)
from experiments.measures.reconstruction import SetResults, measure_set
from experiments.measures.verification import FaceResults, measure_faces
from experiments.sets.faces import MOST_LEARNT, albedo_sets
from experiments.sets.heldout import HeldOut
from experiments.sets.synthetic import EXPRESSION, OUTDOOR, TEST_SETS, YAW
from experiments.study.people import MOST_PHOTOS
from experiments.study.runs import Study, is_exported, run_folder
from experiments.study.variants import PAPER, VARIANTS

AFTER_PRETRAINING, HALF_WEIGHT = "after I + II", "after III, λ_R 0.5"
# 4.2's protocol: 6,000 pairs in ten folds.
_PLAN = PairPlan(folds=10, pairs_per_fold=600)
_SWAPS = 100


@dataclasses.dataclass(frozen=True, eq=False)
class PaperResults:
  """What was measured.

  Attributes:
    sets: 3D errors by synthetic test set.
    faces: Verification by albedo.
    disentanglement: By network.
    decoders: By network.
  """

  sets: Mapping[str, SetResults]
  faces: Mapping[str, FaceResults]
  disentanglement: Mapping[str, Disentanglement]
  decoders: Mapping[str, "DecoderFindings"]

  @property
  def outdoor(self) -> HeldOut:
    """Photos of any kind."""
    return self.sets[OUTDOOR].heldout


@dataclasses.dataclass(frozen=True)
class DecoderFindings:
  """What a network's decoders can say, beside the 3DMM it was taught with.

  Attributes:
    outside: Share of the decoders' squared length outside the span of all the
      3DMM's modes, percent.
    changed_mm: Root mean square over vertices and columns of how far a latent
      of one standard deviation moves a vertex from where it did after phases I
      and II, mm; by decoder, identity and residual.
  """

  outside: float
  changed_mm: tuple[float, float] | None


def trained_networks(study: Study, seed: int) -> dict[str, Network]:
  """The networks that a seed has so far, by the names tables print.

  Raises:
    UserFileNotFoundError: The paper's run has none.
  """
  folders = network_folders(study, seed)
  if AFTER_PRETRAINING not in folders:
    raise UserFileNotFoundError(
      f"{run_folder(study, PAPER, seed)}: no network yet; run --stage=train"
      " first"
    )
  return {name: load_network(folder) for name, folder in folders.items()}


def network_folders(study: Study, seed: int) -> dict[str, pathlib.Path]:
  """Where those networks are; the paper's run leaves one a phase."""
  paper = run_folder(study, PAPER, seed) / FOLDER
  folders = {
    AFTER_PRETRAINING: paper / "decoders",
    HALF_WEIGHT: paper / "joint_recognition",
  } | {
    variant.title: run_folder(study, name, seed) / FOLDER
    for name, variant in VARIANTS.items()
  }
  return {name: path for name, path in folders.items() if is_exported(path)}


def paper_network(names: Sequence[str]) -> str:
  """Of the networks there are the furthest of the paper's run."""
  stages = (AFTER_PRETRAINING, HALF_WEIGHT, VARIANTS[PAPER].title)
  return [name for name in stages if name in names][-1]


def measure_study(
  study: Study,
  networks: Mapping[str, Network],
  *,
  people: int,
  bound_people: int,
  protocol_photos: int,
) -> PaperResults:
  """Measures everything on the people of the study's split `heldout`.

  Args:
    study: Whose world.
    networks: By name.
    people: See `measure_set`.
    bound_people: Same.
    protocol_photos: Same, of the first set.

  Raises:
    ValueError: There are too few people.
  """
  sets = {
    name: measure_set(
      name,
      study.settings,
      study.world,
      study.fitter,
      networks,
      people=people,
      bound_people=bound_people,
      protocol_photos=protocol_photos if place == 0 else 0,
    )
    for place, name in enumerate(TEST_SETS)
  }
  heldout = {name: results.heldout for name, results in sets.items()}
  return PaperResults(
    sets=sets,
    faces=_verify(study, heldout[OUTDOOR], networks),
    disentanglement={
      name: measure_disentanglement(
        network,
        heldout[OUTDOOR],
        heldout[YAW],
        heldout[EXPRESSION],
        swaps=_SWAPS,
      )
      for name, network in networks.items()
    },
    decoders=_decoders(study.fitter, networks),
  )


def _verify(
  study: Study, heldout: HeldOut, networks: Mapping[str, Network]
) -> dict[str, FaceResults]:
  indices = study.people.indices()
  world = study.world.replace(photos_per_person=MOST_PHOTOS)
  chosen = indices[evenly(len(indices), MOST_LEARNT)]
  learnt = np.asarray(photos_of(world, study.settings.seed, chosen).image)
  sets = albedo_sets(heldout, learnt, usual=_PLAN)
  return {
    albedo: measure_faces(faces, networks) for albedo, faces in sets.items()
  }


def _decoders(
  fitter: MorphableModel, networks: Mapping[str, Network]
) -> dict[str, DecoderFindings]:
  modes = np.concatenate(
    [np.asarray(fitter.identity_basis), np.asarray(fitter.expression_basis)], -1
  )
  rows = np.asarray(flatten_vertices(jnp.asarray(np.moveaxis(modes, -1, 0))))
  first = networks.get(AFTER_PRETRAINING)
  return {
    name: DecoderFindings(
      outside_share(np.concatenate(kernels_of(network)), rows),
      None
      if first is None or name == AFTER_PRETRAINING
      else changes_mm(kernels_of(first), kernels_of(network)),
    )
    for name, network in networks.items()
  }


def kernels_of(network: Network) -> tuple[np.ndarray, np.ndarray]:
  """The identity and the residual decoder's columns, as rows `[C, 3V]`."""
  return (
    np.asarray(network.params["identity_decoder"]["kernel"]),
    np.asarray(network.params["residual_decoder"]["kernel"]),
  )


def outside_share(
  kernel: Float[np.ndarray, "C V3"], modes: Float[np.ndarray, "M V3"]
) -> float:
  """Percent of the squared length of rows that modes cannot say.

  Args:
    kernel: Rows to explain.
    modes: What may be combined.
  """
  span, _ = np.linalg.qr(np.asarray(modes, np.float64).T)
  inside = np.asarray(kernel, np.float64) @ span
  whole = np.square(kernel, dtype=np.float64).sum()
  return float(100 * max(0.0, 1 - np.square(inside).sum() / whole))


def changes_mm(
  before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float] | None:
  """See `DecoderFindings.changed_mm`; None where the sizes differ."""
  if any(a.shape != b.shape for a, b in zip(before, after, strict=True)):
    return None
  # Latents are thirds of standard deviations.
  identity, residual = (
    float(np.sqrt(3 * np.mean(np.square((b - a) / 3))))
    for a, b in zip(before, after, strict=True)
  )
  return identity, residual
