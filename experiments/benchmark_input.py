r"""How many crops a second one core reads and decodes from a dataset.

    python -m experiments.benchmark_input --dataset=runs/demo/dataset

Times the steps of `RecordReader.read` one after the other in one thread, on
consecutive batches: reading records, unpacking them, decoding their PNGs; and
the whole of it. What zlib alone needs for the same PNGs shows how much of it
no other decoder could save.
"""

from absl import flags

from data_prep.stages import command_line
from disentangle3d.machine import cpu_name
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.input_pipeline import RecordReader
from experiments.benchmarks.input import measure


def _define_flags() -> None:
  flags.DEFINE_string("dataset", None, "A dataset folder.", required=True)
  flags.DEFINE_string("split", "train", "Of it.")
  flags.DEFINE_integer("batches", 8, "Of 256 crops, timed.", lower_bound=1)


def main() -> None:
  """Measures, prints a table."""
  values = flags.FLAGS
  split = open_dataset(values.dataset, values.split, verify=False)
  rates = measure(RecordReader(split), batches=values.batches)
  print(f"one thread of {cpu_name()}, crops a second of its processor time")
  print("| part | crops/s | µs a crop |\n|---|---|---|")
  for name, rate in rates.items():
    print(f"| {name} | {rate:,.0f} | {1e6 / rate:.0f} |")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
