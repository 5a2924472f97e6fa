"""Measures what a seed has trained, and keeps of whom and on how many."""

from collections.abc import Mapping
import dataclasses
import pathlib

from disentangle3d.evaluation.pair_plans import LEAST_PEOPLE
from disentangle3d.training.export import Network
from disentangle3d.types import UserError
from experiments.benchmarks.speed import timing_findings
from experiments.pages.bases import bases_section
from experiments.pages.findings import Findings
from experiments.study.page import (
  Evaluated,
  evaluated,
  keep_evaluated,
  save_results,
)
from experiments.study.plan import SMALL_PEOPLE
from experiments.study.results import (
  AFTER_PRETRAINING,
  measure_study,
  network_folders,
  paper_network,
  trained_networks,
)
from experiments.study.runs import Study

_BASES, _PICTURE_PX = 4, 256
_TIMED_BATCHES = (1, 8, 32)
PEOPLE = ("test", "validation")


@dataclasses.dataclass(frozen=True)
class Measuring:
  """What to measure, and on whom.

  Attributes:
    people: One of `PEOPLE`.
    validation_people: How many come after the test people, to choose rates by.
    bound_people: People whose true shapes are projected.
    protocol_photos: Photos to compare by every protocol.
    timed_images: Reconstructions to time, at least; 0 times none.
  """

  people: str = "test"
  validation_people: int = 200
  bound_people: int = 4
  protocol_photos: int = 10
  timed_images: int = 700


def measured_study(study: Study, measuring: Measuring) -> Study:
  """The study whose held-out people are measured."""
  if measuring.people != "validation":
    return study
  settings = dataclasses.replace(
    study.settings,
    # They come after the test people.
    people=study.settings.people + study.settings.heldout_people,
    heldout_people=measuring.validation_people,
  )
  return dataclasses.replace(study, settings=settings)


def check_measuring(study: Study, measuring: Measuring) -> None:
  """What would else be told after the training.

  Raises:
    UserError: There are too few people to measure on.
  """
  settings = measured_study(study, measuring).settings
  people = settings.heldout_people
  photos = people * settings.heldout_photos_per_person
  if people < LEAST_PEOPLE:
    raise UserError(
      f"--{measuring.people}_people: expected {LEAST_PEOPLE} or more to verify"
      f" faces, got {people}"
    )
  if measuring.protocol_photos > photos:
    raise UserError(
      f"--protocol_photos: expected at most the {photos} photos of the"
      f" {measuring.people} people, got {measuring.protocol_photos}"
    )


def sizes_of(study: Study, measuring: Measuring) -> tuple[int, ...]:
  """Of how many people an evaluation is worth while, ascending."""
  everyone = measured_study(study, measuring).settings.heldout_people
  return tuple(sorted({min(SMALL_PEOPLE, everyone), everyone}))


def is_evaluated(
  study: Study, seed: int, measuring: Measuring, people: int
) -> bool:
  """Whether all networks there are were measured on so many people."""
  done = evaluated(study, measuring.people, seed)
  names = list(network_folders(study, seed))
  if done is None:
    return not names
  return done.people >= people and list(done.networks) == names


def evaluate(
  study: Study, seed: int, measuring: Measuring, people: int
) -> pathlib.Path:
  """Measures everything there is of a seed.

  Args:
    study: Whose.
    seed: Of the training.
    measuring: What.
    people: On how many.

  Returns:
    The folder that has `evaluation/` in it, for `experiments.report`.

  Raises:
    UserFileNotFoundError: There is no network.
  """
  measured = measured_study(study, measuring)
  networks = trained_networks(study, seed)
  results = measure_study(
    measured,
    networks,
    people=people,
    bound_people=min(people, measuring.bound_people),
    protocol_photos=measuring.protocol_photos,
  )
  folder = save_results(
    measured,
    results,
    measuring.people,
    seed,
    _timing_and_bases(networks, measuring.timed_images),
  )
  keep_evaluated(folder, Evaluated(people, tuple(networks)))
  return folder


def _timing_and_bases(
  networks: Mapping[str, Network], images: int
) -> dict[str, Findings]:
  """Table 4 and Fig. 9, of the furthest network of the paper's run."""
  best = paper_network(list(networks))
  shown = {
    name: networks[name] for name in dict.fromkeys((AFTER_PRETRAINING, best))
  }
  bases = bases_section(shown, count=_BASES, size_px=_PICTURE_PX)
  findings = {"pictures": Findings("Pictures", [bases], {})}
  if images:
    findings["timing"] = timing_findings(
      networks[best].model,
      networks[best].params,
      batches=_TIMED_BATCHES,
      images=images,
    )
  return findings
