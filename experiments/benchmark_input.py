r"""How many crops a second one core reads and decodes from a dataset.

    python -m experiments.benchmark_input --dataset=runs/demo/dataset

Times the steps of `RecordReader.read` one after the other in one thread, on
consecutive batches: reading records, unpacking them, decoding their PNGs; and
the whole of it. What zlib alone needs for the same PNGs shows how much of it
no other decoder could save.
"""

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_words import define_dataset, was
from disentangle3d.training.dataset import open_dataset
from disentangle3d.training.input_pipeline import RecordReader
from experiments.benchmarks.input import measure, table_of
from experiments.benchmarks.results import define_figures_output, publish


def define_flags() -> None:
  """Defines the dataset and how much of it is read."""
  define_dataset()
  flags.DEFINE_string("split", "train", "The split of the dataset.")
  flags.DEFINE_integer(
    "num_batches", 8, "How many batches of 256 crops are timed.", lower_bound=1
  )
  define_figures_output()
  was(batches="num_batches")


def main() -> None:
  """Measures, prints and writes."""
  values = flags.FLAGS
  split = open_dataset(values.dataset, values.split, verify=False)
  rates = measure(RecordReader(split), batches=values.num_batches)
  publish(
    "Reading a dataset",
    [table_of(rates)],
    rates,
    output=values.output,
    name="input",
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
