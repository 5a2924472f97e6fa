"""What is asked of a GPU or TPU: parts, goals, and the page about them."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

from absl import logging

from disentangle3d.reporting.html_page import Table
from disentangle3d.reporting.markdown import markdown_table
from disentangle3d.types import CASIA_NUM_IMAGES
from experiments.benchmarks.inference import PYTORCH
from experiments.benchmarks.results import measured_by, read_figures

_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


_TINY_STEP = (
  "--trunk=tiny",
  "--batch_sizes=4",
  "--precision=bfloat16",
  "--crops=8",
  "--steps=2",
  "--matrix=64",
  "--output={folder}",
)


_LOG = "output.txt"


@dataclasses.dataclass(frozen=True)
class Goal:
  """What a part shall reach.

  Attributes:
    what: In words, with the unit.
    wanted: The number; None where it is only to be known.
    figure: Reads the measured number from the part's folder.
    at_most: Whether less is better.
  """

  what: str
  wanted: float | None
  figure: Callable[[pathlib.Path], float]
  at_most: bool = False


@dataclasses.dataclass(frozen=True)
class Part:
  """One command.

  Attributes:
    module: Of `experiments`.
    flags: Of the whole program; {folder} stands for the part's own.
    tiny: In place of them, small.
    minutes: It may take.
    goals: What is read from its folder.
    xla_flags: Beside those that are set.
  """

  module: str
  flags: Sequence[str]
  tiny: Sequence[str]
  minutes: float
  goals: Sequence[Goal] = ()
  xla_flags: str = ""


def _steps(folder: pathlib.Path, key: str) -> dict[int, float]:
  """By batch: a figure of the train step in bfloat16."""
  return {
    row["batch_size"]: row[key]
    for row in read_figures(folder / "scaling.json")["rows"]
    if row["precision"] == "bfloat16"
  }


def _deterministic_time(folder: pathlib.Path) -> float:
  """Of a step that repeats its bits, over the plain one's at that batch."""
  plain = _steps(folder.parent / "training", "images_per_s")
  ((batch, rate),) = _steps(folder, "images_per_s").items()
  return plain[batch] / rate


def _ours(folder: pathlib.Path, key: str) -> dict[int, list[float]]:
  """By batch: a figure of each of our ways in bfloat16."""
  return {
    int(batch): [row[key] for way, row in ways.items() if way != PYTORCH]
    for batch, rows in read_figures(folder / "inference.json").items()
    for name, ways in rows.items()
    if name.endswith("bfloat16")
  }


def _fitting_time(folder: pathlib.Path) -> float:
  """Of as many images as CASIA-WebFace has, compiled before."""
  speeds = read_figures(folder / "fitting.json")["speed"]
  return CASIA_NUM_IMAGES / speeds[0]["images_per_s"]


def _rate(folder: pathlib.Path, stage: str) -> float:
  """Photos a second of a stage of `paper_scale`."""
  work = folder / "study"
  lines = (work / "stages.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  seconds = sum(r["seconds"] for r in rows if r["stage"].startswith(stage))
  scale = json.loads((work / "study.json").read_text())["scale"]
  return round(CASIA_NUM_IMAGES * scale) / seconds


PARTS: Mapping[str, Part] = {
  "checks": Part(
    "accelerator_checks", (), ("--tiny",), 4, xla_flags=_DETERMINISTIC
  ),
  "training": Part(
    "benchmark_training",
    (
      "--batch_sizes=256,1024,2048",
      "--precision=bfloat16",
      "--crops=65536",
      "--profile",
      "--output={folder}",
    ),
    (*_TINY_STEP, "--profile"),
    5,
    (
      Goal(
        "train step: images/s",
        22_000,
        lambda folder: max(_steps(folder, "images_per_s").values()),
      ),
      Goal(
        "train step: share of the peak",
        0.30,
        lambda folder: max(_steps(folder, "peak_share").values()),
      ),
    ),
  ),
  "float32": Part(
    "benchmark_training",
    (
      "--batch_sizes=1024",
      "--precision=float32",
      "--crops=65536",
      "--output={folder}",
    ),
    (*_TINY_STEP, "--precision=float32"),
    3,
  ),
  "deterministic": Part(
    "benchmark_training",
    (
      "--batch_sizes=1024",
      "--precision=bfloat16",
      "--crops=65536",
      "--output={folder}",
    ),
    _TINY_STEP,
    3,
    (Goal("deterministic step: times the time", None, _deterministic_time),),
    xla_flags=_DETERMINISTIC,
  ),
  "inference": Part(
    "benchmark_inference",
    (
      "--trunks=sphere20",
      "--precision=bfloat16,float32",
      "--batch_sizes=1,8,32,256,1024",
      "--output={folder}",
    ),
    (
      "--trunks=tiny",
      "--precision=bfloat16",
      "--batch_sizes=1,2",
      "--rounds=3",
      "--output={folder}",
    ),
    3,
    (
      Goal(
        "reconstruction, batch 1: ms",
        1.0,
        lambda folder: min(_ours(folder, "p50_ms")[1]),
        at_most=True,
      ),
      Goal(
        "reconstruction, best batch: share of the peak",
        0.40,
        lambda folder: max(map(max, _ours(folder, "peak_share").values())),
      ),
    ),
  ),
  "fitting": Part(
    "benchmark_fitting",
    (
      f"--num_images={CASIA_NUM_IMAGES}",
      "--speed_only",
      "--noeos",
      "--output={folder}",
    ),
    ("--num_images=600", "--speed_only", "--noeos", "--output={folder}"),
    6,
    (
      Goal(
        "landmark fit of CASIA-WebFace, 7 alternations: s",
        5,
        _fitting_time,
        at_most=True,
      ),
    ),
  ),
  "rendering": Part(
    "paper_scale",
    ("--scale=0.1", "--stage=fit", "--workdir={folder}/study"),
    (
      "--scale=0.0005",
      "--stage=fit",
      "--num_vertices=600",
      "--workdir={folder}/study",
    ),
    4,
    (
      Goal(
        "rendering, compilation included: photos/s",
        8_000,
        lambda folder: _rate(folder, "rendering"),
      ),
    ),
  ),
}


def run_part(name: str, folder: pathlib.Path, *, tiny: bool) -> bool:
  """Runs a part, unless it is done; whether it is.

  Args:
    name: In `PARTS`.
    folder: The part's own; what it prints goes to `output.txt` there.
    tiny: The small way.
  """
  part = PARTS[name]
  done = folder / "done"
  if done.is_file():
    return True
  folder.mkdir(parents=True, exist_ok=True)
  arguments = [
    flag.format(folder=folder) for flag in (part.tiny if tiny else part.flags)
  ]
  xla_flags = f"{os.environ.get('XLA_FLAGS', '')} {part.xla_flags}"
  logging.info("%s: %s %s", name, part.module, " ".join(arguments))
  with (folder / _LOG).open("wb") as log:
    try:
      status = subprocess.run(
        [sys.executable, "-m", f"experiments.{part.module}", *arguments],
        stdout=log,
        stderr=subprocess.STDOUT,
        timeout=60 * part.minutes,
        env={**os.environ, "XLA_FLAGS": xla_flags.strip()},
        check=False,
      ).returncode
    except subprocess.TimeoutExpired:
      log.write(f"\nstopped after {part.minutes} minutes\n".encode())
      status = 1
  if status == 0:
    done.touch()
  return status == 0


def goal_row(goal: Goal, folder: pathlib.Path) -> list[str]:
  """A goal's line: what, wanted, measured or a dash, and whether it is met."""
  sign = "at most" if goal.at_most else "at least"
  wanted = "–" if goal.wanted is None else f"{sign} {_number(goal.wanted)}"
  if not (folder / "done").is_file():
    return [goal.what, wanted, "–", "–"]
  try:
    figure = goal.figure(folder)
  except FileNotFoundError:  # It is one of two parts.
    return [goal.what, wanted, "–", "–"]
  if goal.wanted is None:
    return [goal.what, wanted, _number(figure), "–"]
  met = figure <= goal.wanted if goal.at_most else figure >= goal.wanted
  return [goal.what, wanted, _number(figure), "yes" if met else "no"]


def _number(value: float) -> str:
  return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def report(root: pathlib.Path, names: Sequence[str]) -> str:
  """The page: goals, then what each part printed, as far as there is any."""
  sections = [
    "# An accelerator\n",
    "\n\n".join(measured_by()),
    "\nA dash: not measured.",
  ]
  rows = [
    goal_row(goal, root / name) for name in names for goal in PARTS[name].goals
  ]
  if rows:
    table = Table(
      header=["what", "goal", "measured", "met"],
      rows=rows,
      text_columns=range(4),
    )
    sections += ["", markdown_table(table)]
  for name in names:
    log = root / name / _LOG
    if not log.is_file():
      continue
    state = "" if (root / name / "done").is_file() else " (failed)"
    text = log.read_bytes().decode(errors="replace")
    # Of a progress bar its last state.
    text = re.sub(r"[^\n]*\r", "", text).strip()
    sections += ["", f"## {name}{state}", "", "```", text, "```"]
  return "\n".join(sections) + "\n"
