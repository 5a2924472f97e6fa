"""Everything once, end to end.

    python -m experiments.demo --workdir=runs/demo

Procedural face model -> synthetic people -> landmark fits -> dataset -> three
phases of training -> people never seen -> `report.html`, and one face as GLB
and PLY. Run again after an interruption, it goes on where it stopped. Exit
status 1 if a gate fails.
"""

from collections.abc import Iterator, Sequence
import contextlib
import pathlib
import sys
import time

from absl import flags
from ml_collections import ConfigDict

from data_prep.datasets.synthetic_rendering import render_dataset
from data_prep.render_synthetic import SyntheticSet, world_of
from data_prep.stages import command_line
from disentangle3d.faces.meshes import write_mesh
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.output_files import replace_file
from disentangle3d.reporting.pictures import contact_sheet, picture_png
from disentangle3d.training.export import Export, load_export
from experiments.configs import demo as demo_config
from experiments.configs import demo_control
from experiments.measures.demo import (
  AFTER_JOINT,
  AFTER_PRETRAINING,
  CONTROL,
  evaluate,
)
from experiments.pages.demo import Results, write_report
from experiments.pages.faces import FacePictures, face_pictures
from experiments.training.host import (
  keep_freed_memory,
  quieten_libraries,
  stop_on_signals,
)
from experiments.training.runs import train

_FACES_IN_PICTURE = 3


class Stopped(Exception):
  """Ctrl-C or SIGTERM came; what was done is saved."""


def run_demo(workdir: pathlib.Path, settings: SyntheticSet) -> Results:
  """All stages; those that an earlier run finished are not done again."""
  seconds: dict[str, float] = {}
  with _timed(seconds, "world"):
    world, fitter = world_of(settings)
  dataset = workdir / "dataset"
  with _timed(seconds, "photos, fits and dataset"):
    render_dataset(dataset, settings, world, fitter)
  networks = {}
  trained = workdir / "training"
  with _timed(seconds, "training, phases I to III"):
    config = demo_config.get_config()
    config.seed = settings.seed
    _train(config, trained, dataset, fitter)
  networks[AFTER_PRETRAINING] = load_export(trained / "export" / "decoders")
  networks[AFTER_JOINT] = load_export(trained)
  control = workdir / "control"
  config = demo_control.get_config()
  config.seed = settings.seed
  config.init_from = str(trained / "export" / "decoders")
  with _timed(seconds, "the control"):
    _train(config, control, dataset, fitter)
  networks[CONTROL] = load_export(control)
  with _timed(seconds, "evaluation"):
    results = evaluate(settings, world, fitter, networks)
  with _timed(seconds, "report"):
    pictures = [face_pictures(face, fitter) for face in results.faces]
    write_report(
      workdir / "report.html",
      results,
      pictures,
      runs={"training": trained, "control": control},
      seconds=seconds,
    )
    _write_face(workdir, results, pictures, networks[AFTER_JOINT])
  return results


def _train(
  config: ConfigDict,
  workdir: pathlib.Path,
  dataset: pathlib.Path,
  fitter: MorphableModel,
) -> None:
  config.dataset = str(dataset)
  config.model.identity_dim = fitter.identity_dim
  config.model.residual_dim = fitter.expression_dim
  config.model.num_vertices = fitter.num_vertices
  with stop_on_signals() as should_stop:
    outcome = train(config, workdir, should_stop=should_stop)
  if not outcome.complete:
    raise Stopped


def _write_face(
  workdir: pathlib.Path,
  results: Results,
  pictures: Sequence[FacePictures],
  network: Export,
) -> None:
  face = results.faces[0]
  for suffix in (".glb", ".ply"):
    write_mesh(workdir / f"face{suffix}", face.shape, network.triangles)
  shown = [item for row in pictures[:_FACES_IN_PICTURE] for item in row]
  sheet = contact_sheet(
    [image for _, image in shown],
    columns=len(pictures[0]),
    labels=[text for text, _ in shown],
    font_px=22,
  )
  replace_file(workdir / "faces.png", picture_png(sheet))


@contextlib.contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
  start = time.monotonic()
  print(f"demo: {stage} ...", flush=True)
  yield
  seconds[stage] = time.monotonic() - start
  print(f"demo: {stage}: {seconds[stage]:.0f} s", flush=True)


def _define_flags() -> None:
  flags.DEFINE_string("workdir", "runs/demo", "Where everything goes.")
  flags.DEFINE_string(
    "morphable_model", None, "An .npz to take instead of the procedural model."
  )
  flags.DEFINE_integer("seed", 0, "Of the people, photos and training.")


def main() -> None:
  """Runs the demo, prints its gates."""
  quieten_libraries()
  keep_freed_memory()
  workdir = pathlib.Path(flags.FLAGS.workdir)
  settings = SyntheticSet(
    morphable_model=flags.FLAGS.morphable_model, seed=flags.FLAGS.seed
  )
  workdir.mkdir(parents=True, exist_ok=True)
  try:
    results = run_demo(workdir, settings)
  except Stopped:
    print("demo: stopped, saved; run the same command to go on")
    return
  gates = results.gates()
  for gate in gates:
    print(f"gate {'passed' if gate.passed else 'FAILED'}: {gate.text}")
  print(f"demo: open {workdir / 'report.html'}")
  if not all(gate.passed for gate in gates):
    sys.exit(1)


if __name__ == "__main__":
  command_line.run(main, _define_flags)
