"""The synthetic counterparts of the paper's test sets, on unseen people.

`synthetic_outdoor` stands for MICC's outdoor videos: any pose, light and
expression. `synthetic_yaw` stands for the renderings of BU-3DFE: neutral, yaw
-90 to 90 degrees by 10. `synthetic_expression` stands for its expressions:
nearly frontal, each class equally often.
"""

import dataclasses

from data_prep.datasets.synthetic_set import SyntheticSet, split_plans
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.types import UserError, check_choice

OUTDOOR, YAW, EXPRESSION = (
  "synthetic_outdoor",
  "synthetic_yaw",
  "synthetic_expression",
)


@dataclasses.dataclass(frozen=True)
class TestSet:
  """How a person of a set is photographed.

  Attributes:
    photos_per_person: Photos of each; 0 takes the dataset's own number.
    sweep: See `synthetic_world`.
    yaw_distribution: See `synthetic_world`.
  """

  photos_per_person: int
  sweep: str
  yaw_distribution: str


TEST_SETS = {
  OUTDOOR: TestSet(0, "none", "mixed"),
  YAW: TestSet(19, "yaw", "mixed"),
  EXPRESSION: TestSet(12, "expression", "frontal"),
}


def world_of_set(
  name: str, settings: SyntheticSet, world: SyntheticWorld, people: int
) -> tuple[SyntheticSet, SyntheticWorld]:
  """Settings and world whose split `heldout` is the set.

  Args:
    name: In `TEST_SETS`.
    settings: Of the dataset that was trained on.
    world: Its world.
    people: How many of its held-out people; 0 takes all.

  Returns:
    The same people, photographed as the set wants it.

  Raises:
    UserError: There is no such set, or it has fewer people.
  """
  check_choice("set", name, TEST_SETS)
  there = split_plans(settings)["heldout"].people
  if not 0 <= people <= there:
    raise UserError(
      f"people: expected 0 to {there} held-out people, got {people}"
    )
  chosen = TEST_SETS[name]
  photos = chosen.photos_per_person or settings.heldout_photos_per_person
  return (
    dataclasses.replace(
      settings, heldout_people=people or there, heldout_photos_per_person=photos
    ),
    world.replace(sweep=chosen.sweep, yaw_distribution=chosen.yaw_distribution),
  )
