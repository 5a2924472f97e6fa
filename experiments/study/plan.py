"""How much of the paper fits into so many minutes, from measured rates."""

from collections.abc import Callable, Mapping
import dataclasses
import json
import math
import pathlib
import time

from ml_collections import ConfigDict

from disentangle3d.machine import machine_name
from disentangle3d.output_files import replace_file
from disentangle3d.types import CASIA_NUM_IMAGES, UserError
from experiments.sets.faces import MOST_LEARNT
from experiments.sets.synthetic import EXPRESSION, TEST_SETS, YAW
from experiments.study.variants import CONTROL, PAPER

PLAN = "plan.json"
SMALL_PEOPLE = 60
# Photos of a held-out person: of any kind (twice: two albedos), and the sets'.
_PHOTOS_OF_ONE = 10
_PROGRAMS_OF_EVALUATION, _PHASES = 10, 3
# Networks, turned and not, on all sets; forwards is a third of a step.
_STEPS_A_PHOTO = 4
_RENDERING, _FITTING, _EVALUATION = "rendering", "fitting", "evaluation"


@dataclasses.dataclass(frozen=True)
class Rates:
  """Seconds that things take on a machine.

  Attributes:
    render: Rendering a photo.
    fit: Fitting it with the person's others, padding included.
    step: Of a training step of phase III, a photo of the batch.
    compile: Compiling one of their programs, the mean.
  """

  render: float
  fit: float
  step: float
  compile: float


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a study does on a machine.

  Attributes:
    setting: What the rates were measured of, and on which machine.
    scale: Share of the paper's people and photos.
    rates: As they were measured.
    expected: Seconds by the beginning of a stage's name.
  """

  setting: str
  scale: float
  rates: Rates
  expected: Mapping[str, float]


class Budget:
  """Seconds that are left of what a program may take."""

  def __init__(
    self, minutes: float, clock: Callable[[], float] = time.monotonic
  ):
    """Begins now; 0 minutes never end."""
    self._clock = clock
    self.seconds = 60 * minutes or math.inf
    self._end = clock() + self.seconds

  @property
  def limited(self) -> bool:
    """Whether it ends."""
    return self.seconds < math.inf

  @property
  def left(self) -> float:
    """Seconds; negative when it is over."""
    return self._end - self._clock()


def expected_seconds(
  rates: Rates, config: ConfigDict, photos: float
) -> dict[str, float]:
  """By the beginning of a stage's name, for so many training photos."""
  joint = sum(n for name, n in config.epochs.items() if name != "latents")
  epochs = sum(config.epochs.values())
  decoders = config.phases.decoders
  return {
    _RENDERING: photos * rates.render,
    _FITTING: rates.compile + photos * rates.fit,
    training_of(PAPER): (_PHASES + 1) * rates.compile
    + (epochs * photos + decoders.steps * decoders.batch_size) * rates.step,
    training_of(CONTROL): 2 * rates.compile + joint * photos * rates.step,
    _EVALUATION: evaluation_seconds(rates, SMALL_PEOPLE),
  }


def training_of(name: str) -> str:
  """How the stage that trains a variant begins."""
  return f"training, {name},"


def evaluation_seconds(rates: Rates, people: int) -> float:
  """Of measuring so many people, without what only the host does."""
  swept = TEST_SETS[YAW].photos_per_person + (
    TEST_SETS[EXPRESSION].photos_per_person
  )
  photos = people * (2 * _PHOTOS_OF_ONE + swept) + MOST_LEARNT
  each = rates.render + 2 * rates.fit + _STEPS_A_PHOTO * rates.step
  return _PROGRAMS_OF_EVALUATION * rates.compile + photos * each


def scale_for(rates: Rates, config: ConfigDict, seconds: float) -> float:
  """The largest scale at which paper, control and evaluations take so long.

  Should everything take a third longer, the paper's run and its small
  evaluation still fit.
  """

  def total(photos: float) -> float:
    expected = expected_seconds(rates, config, photos)
    return sum(expected.values()) + expected[_EVALUATION]

  fixed = total(0)
  photos = (seconds - fixed) / (total(1) - fixed)
  scale = min(1.0, max(photos, 4.0) / CASIA_NUM_IMAGES)
  # Two digits, downwards: it stands in commands and tables.
  digits = 1 - math.floor(math.log10(scale))
  return max(
    math.floor(scale * 10**digits + 1e-9) / 10**digits, 1 / CASIA_NUM_IMAGES
  )


def plan_of(
  rates: Rates, config: ConfigDict, *, setting: str, scale: float
) -> Plan:
  """What to expect of a study at a scale."""
  expected = expected_seconds(rates, config, scale * CASIA_NUM_IMAGES)
  return Plan(setting, scale, rates, expected)


def setting_of(config: ConfigDict, num_vertices: int) -> str:
  """What rates hold for, in words."""
  return (
    f"{config.model.trunk}, {num_vertices:,} vertices, batch"
    f" {config.batch_size}, {machine_name()}"
  )


def keep_plan(workdir: pathlib.Path, plan: Plan) -> None:
  """Writes `plan.json`."""
  text = json.dumps(dataclasses.asdict(plan), indent=1)
  replace_file(workdir / PLAN, text)


def kept_plan(workdir: pathlib.Path) -> Plan | None:
  """What `keep_plan` wrote there; None for nothing.

  Raises:
    UserError: The file is damaged.
  """
  path = workdir / PLAN
  if not path.is_file():
    return None
  try:
    values = json.loads(path.read_text())
    return Plan(**values | {"rates": Rates(**values["rates"])})
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(
      f"{path}: expected a plan of paper_scale ({error}); without the file it"
      " is made again"
    ) from error


def plan_text(plan: Plan) -> str:
  """The plan in a line."""
  stages = ", ".join(f"{n} {s:.0f} s" for n, s in plan.expected.items())
  rates = plan.rates
  return (
    f"scale {plan.scale:g}; expected: {stages} (measured: {rates.render:.2g} s"
    f" to render a photo, {rates.fit:.2g} to fit it, {rates.step:.2g} to train"
    f" on it, {rates.compile:.2g} to compile a program)"
  )
