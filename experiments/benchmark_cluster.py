r"""Data preparation on Ray: what it costs on one machine, and what many take.

    python -m experiments.benchmark_cluster --photos=photos.zip \
      --num_photos=4000 --output=runs/cluster
    python -m experiments.benchmark_cluster --simulate --output=runs/cluster

The first runs prepare_dataset on this machine with either engine, in turn, each
time from the start of the process, so that the start of Ray's cluster and of a
worker a stage counts. With as many cores for one worker as the machine has
(--worker_cpus) both compute alike: what is more is Ray's.

--simulate predicts, from the core time of each stage (--core_ms; the defaults
are those of docs/measurements), what --million_photos take on --nodes, and what
limits it: cores, requests to the file system, the driver, starting. It is a
simulation of events (`experiments/benchmarks/cluster.py`), not a measurement.
"""

import itertools
import os

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.extras import require
from data_prep.stages.flag_values import numbers_of
from data_prep.stages.flag_words import (
  INSTEAD_OF_PROCEDURAL,
  define_morphable_model,
  define_path,
)
from disentangle3d.types import UserError
from experiments.benchmarks.cluster import (
  Machines,
  cluster_table,
  costs_of,
  simulate,
)
from experiments.benchmarks.results import define_figures_output, publish

# Of a photo of 250 x 250, docs/measurements/2026-11-26_photo_stages_cpu.md.
_CORE_MS = {
  "detect_faces": 17.28,
  "locate_landmarks": 2.37,
  "align_faces": 2.03,
  "fit_faces": 3.90,
  "build_dataset": 1.01,
}
_ASSUMED = {
  "cores": "How many cores a node has.",
  "start_s": "Seconds until a worker has started and loaded its models.",
  "files_s": "Requests a second that the file system or store serves in all.",
  "handed_out_s": "Shards a second that the driver hands out.",
  "indexed_s": "Rows a second that the driver reads before a stage.",
  "hours_between_losses": "How long a node lives on average, in hours.",
}


def define_flags() -> None:
  """Defines what is run, and what is assumed."""
  flags.DEFINE_bool(
    "simulate", False, "Whether many nodes are simulated; nothing is run."
  )
  define_path("photos", "The photographs to run on.")
  flags.DEFINE_integer(
    "num_photos", 4000, "How many of --photos are taken.", lower_bound=2
  )
  define_morphable_model(INSTEAD_OF_PROCEDURAL)
  flags.DEFINE_integer(
    "worker_cpus",
    None,
    "How many cores one of Ray's workers has; all where it is not given.",
    lower_bound=1,
  )
  flags.DEFINE_integer("rounds", 3, "How often each runs.", lower_bound=1)
  flags.DEFINE_list(
    "nodes", ["1", "16", "128"], "How many nodes are simulated."
  )
  flags.DEFINE_list(
    "million_photos", ["0.5", "5.8", "42"], "How many photographs, in millions."
  )
  flags.DEFINE_list(
    "core_ms",
    [],
    "What a photograph takes of a core in a stage, as stage=milliseconds, where"
    " it is not what was measured here.",
  )
  flags.DEFINE_enum(
    "crops",
    "tar",
    ("files", "tar"),
    "How align_faces writes crops; see its --crops.",
  )
  defaults = Machines(nodes=1)
  for name, help_text in _ASSUMED.items():
    flags.DEFINE_float(
      name, getattr(defaults, name), help_text, lower_bound=1e-9
    )
  define_figures_output()


def main() -> None:
  """Simulates or measures, prints and writes."""
  values = flags.FLAGS
  if values.simulate:
    _simulated(values)
    return
  require("ray", "to measure it", "ray")
  if not values.photos:
    raise UserError("--photos: expected photographs, or --simulate; got none")
  from experiments.benchmarks.ray_overhead import (
    measure_engines,
    overhead_table,
  )

  times = measure_engines(
    values.photos,
    num_photos=values.num_photos,
    rounds=values.rounds,
    worker_cpus=values.worker_cpus or os.cpu_count() or 1,
    morphable_model=values.morphable_model,
  )
  publish(
    "Photographs to a dataset by either engine",
    [overhead_table(times)],
    times,
    output=values.output,
    name="engines",
  )


def _simulated(values: flags.FlagValues) -> None:
  costs = costs_of(_core_ms(values.core_ms), tar_crops=values.crops == "tar")
  assumed = {name: getattr(values, name) for name in _ASSUMED}
  assumed["cores"] = int(assumed["cores"])
  runs = [
    simulate(costs, photos, Machines(nodes=nodes, **assumed))
    for photos, nodes in itertools.product(
      _millions(values.million_photos), numbers_of("nodes", values.nodes)
    )
  ]
  publish(
    "Data preparation on a cluster, simulated",
    [cluster_table(runs)],
    {"assumed": assumed, "costs": costs, "runs": runs},
    output=values.output,
    name="cluster",
  )


def _millions(texts: list[str]) -> list[int]:
  try:
    numbers = [round(1e6 * float(text)) for text in texts]
  except ValueError as error:
    raise UserError(f"--million_photos: expected numbers, {error}") from error
  if min(numbers, default=0) < 1:
    raise UserError("--million_photos: expected numbers above 0")
  return numbers


def _core_ms(texts: list[str]) -> dict[str, float]:
  told = dict(_CORE_MS)
  for text in texts:
    stage, _, number = text.partition("=")
    try:
      told[stage], known = float(number), stage in _CORE_MS
    except ValueError:
      known = False
    if not known or told[stage] <= 0:
      raise UserError(
        f"--core_ms: expected stage=milliseconds of {', '.join(_CORE_MS)}, got"
        f" {text!r}"
      )
  return told


if __name__ == "__main__":
  command_line.run(main, define_flags)
