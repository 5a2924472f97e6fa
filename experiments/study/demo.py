"""The demo's stages: a world, a dataset, two trainings, figures and a page."""

from collections.abc import Iterator, Sequence
import contextlib
import pathlib
import time

from ml_collections import ConfigDict

from data_prep.datasets.synthetic_rendering import render_dataset
from data_prep.datasets.synthetic_set import SyntheticSet, world_of
from disentangle3d.faces.meshes import write_mesh
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.folder_use import sole_use
from disentangle3d.output_files import replace_file
from disentangle3d.reporting.pictures import contact_sheet, picture_png
from disentangle3d.training.export import Network, load_network
from experiments.configs import demo as demo_config
from experiments.configs import demo_control
from experiments.measures.reconstruction import measure_set
from experiments.measures.verification import measure_faces
from experiments.pages.faces import Face, FacePictures, face_pictures
from experiments.sets.faces import PER_PERSON, albedo_sets, training_images
from experiments.sets.synthetic import OUTDOOR
from experiments.study.demo_page import faces_to_show, write_report
from experiments.study.gates import (
  AFTER_JOINT,
  AFTER_PRETRAINING,
  CONTROL,
  Gate,
  demo_gates,
)
from experiments.study.runs import Stopped
from experiments.training.host import stop_on_signals
from experiments.training.runs import train

_FACES_IN_PICTURE = 3


def run_demo(workdir: pathlib.Path, settings: SyntheticSet) -> list[Gate]:
  """All stages; those that an earlier run finished are not done again.

  Args:
    workdir: Where everything goes.
    settings: What the world is made of.

  Returns:
    What was demanded of the figures, and whether it holds.

  Raises:
    Stopped: Ctrl-C or SIGTERM came; what was done is saved.
  """
  with sole_use(workdir):
    seconds: dict[str, float] = {}
    with _timed(seconds, "world"):
      world, fitter = world_of(settings)
    dataset = workdir / "dataset"
    with _timed(seconds, "photos, fits and dataset"):
      render_dataset(dataset, settings, world, fitter)
    trained = workdir / "training"
    with _timed(seconds, "training, phases I to III"):
      config = demo_config.get_config()
      config.seed = settings.seed
      _train(config, trained, dataset, fitter)
    control = workdir / "control"
    config = demo_control.get_config()
    config.seed = settings.seed
    config.init_from = str(trained / "export" / "decoders")
    with _timed(seconds, "the control"):
      _train(config, control, dataset, fitter)
    networks = {
      AFTER_PRETRAINING: load_network(trained / "export" / "decoders"),
      CONTROL: load_network(control),
      AFTER_JOINT: load_network(trained),
    }
    with _timed(seconds, "evaluation"):
      photos = measure_set(OUTDOOR, settings, world, fitter, networks)
      sets = albedo_sets(photos.heldout, training_images(dataset))
      verified = {
        albedo: measure_faces(faces, networks) for albedo, faces in sets.items()
      }
      gates = demo_gates(photos, verified[PER_PERSON])
    with _timed(seconds, "report"):
      shown = faces_to_show(photos.heldout, networks[AFTER_JOINT])
      pictures = [face_pictures(face, fitter) for face in shown.faces]
      write_report(
        workdir / "report.html",
        photos,
        verified,
        gates,
        shown,
        pictures,
        runs={"training": trained, "control": control},
        settings=settings,
        seconds=seconds,
      )
      _write_face(workdir, shown.faces[0], pictures, networks[AFTER_JOINT])
    return gates


def _train(
  config: ConfigDict,
  workdir: pathlib.Path,
  dataset: pathlib.Path,
  fitter: MorphableModel,
) -> None:
  config.examples.path = str(dataset)
  config.model.identity_dim = fitter.identity_dim
  config.model.residual_dim = fitter.expression_dim
  config.model.num_vertices = fitter.num_vertices
  with stop_on_signals() as should_stop:
    outcome = train(config, workdir, should_stop=should_stop)
  if not outcome.complete:
    raise Stopped


def _write_face(
  workdir: pathlib.Path,
  face: Face,
  pictures: Sequence[FacePictures],
  network: Network,
) -> None:
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
