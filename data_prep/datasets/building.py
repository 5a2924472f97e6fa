"""The stage `build_dataset`: fitted photos to a training set, in shards."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
import functools
import pathlib
from typing import Any
import unicodedata

from absl import logging
import numpy as np

from data_prep.datasets.shards import (
  MANIFEST_SUFFIX,
  DatasetPlan,
  make_shard,
  plan_dataset,
  read_parts,
)
from data_prep.datasets.writer import write_dataset_manifest
from data_prep.fitting.fit_files import MORPHABLE_MODEL, fits_path
from data_prep.fitting.landmark_index import index_landmarks
from data_prep.photos.crops import template_in
from data_prep.photos.listing import natural_key
from data_prep.stages.engine import LOCAL, Engine, Progress, ShardWork
from data_prep.stages.flag_values import split_names
from data_prep.stages.folder import (
  ALONE,
  Share,
  StageFolder,
  digest,
  open_stage,
)
from data_prep.stages.progress import progress
from data_prep.stages.rows import list_manifests
from disentangle3d.crop_templates import SPHEREFACE, WHOLE_FACE
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  load_morphable_model,
)
from disentangle3d.input_files import existing_file
from disentangle3d.output_files import readable, replace_file
from disentangle3d.training.dataset import sha256_of
from disentangle3d.types import UserError

STAGE = "build_dataset"


def split_people(
  people: Sequence[str], heldout: str, *, seed: int
) -> tuple[list[str], list[str]]:
  """Who is trained on and who is not.

  Args:
    people: All of them.
    heldout: How many to hold out, picked by `seed`; or their names with
      commas between them (one name that is a number: with a comma behind it; a
      name that has a comma: in double quotes).
    seed: Of the pick.

  Returns:
    People to train on and people held out, each in natural order.

  Raises:
    UserError: A name is unknown, or nobody is left to train on.
  """
  people = sorted(set(people), key=natural_key)
  if heldout.isdecimal():
    count = int(heldout)
    if count >= len(people):
      raise UserError(
        f"--heldout_people: expected fewer than the {len(people)} people there"
        f" are, got {count}"
      )
    order = np.random.default_rng(seed).permutation(len(people))
    chosen = {people[i] for i in order[:count]}
  else:
    names = [heldout] if heldout in people else split_names(heldout)
    chosen = {_person_called(name, people) for name in names}
    unknown = sorted(chosen - set(people), key=natural_key)
    if unknown or not chosen:
      raise UserError(
        "--heldout_people: expected a number or names of people in the photos,"
        f" got {unknown[0] if unknown else heldout!r}"
      )
    if len(chosen) == len(people):
      raise UserError("--heldout_people: expected someone to be left to train")
  train = [name for name in people if name not in chosen]
  if len(train) == 1:
    logging.warning(
      "Only %s is left to train on: that teaches no identity.", train[0]
    )
  return train, [name for name in people if name in chosen]


def _person_called(name: str, people: Sequence[str]) -> str:
  """The person of a name, who may write an accent in another way."""
  if name in people:
    return name
  plain = unicodedata.normalize("NFC", name)
  alike = [one for one in people if unicodedata.normalize("NFC", one) == plain]
  return alike[0] if len(alike) == 1 else name


def build_dataset(
  folder: pathlib.Path,
  output: pathlib.Path,
  *,
  heldout: str,
  seed: int = 0,
  share: Share = ALONE,
  engine: Engine = LOCAL,
) -> dict[str, Any] | None:
  """Writes the dataset, or this machine's share of it.

  Args:
    folder: What fit_faces wrote.
    output: The dataset to write; new, empty, or of an earlier run of this.
    heldout: See `split_people`.
    seed: See `split_people`.
    share: Which shards are this machine's; each is one of `folder`'s.
    engine: Who makes them.

  Returns:
    The dataset's manifest once every shard is there; None before.

  Raises:
    UserFileNotFoundError: `folder` is missing or incomplete.
    UserError: Something in it is malformed, `heldout` does not fit it, or
      `output` holds something else.
  """
  manifests = list_manifests(folder)
  index = index_landmarks(folder)
  if index.bad:
    raise UserError(str(index.bad[0]))
  model = load_morphable_model(folder / MORPHABLE_MODEL)
  train, heldout_people = split_people(
    [entry.subject for entry in index.entries if entry.ok], heldout, seed=seed
  )
  people = {"train": train, "heldout": heldout_people}
  plan = plan_dataset(index, {k: v for k, v in people.items() if v})
  with open_stage(
    output,
    STAGE,
    num_shards=len(manifests),
    settings={"heldout_people": heldout, "seed": seed},
    licences=index.licences | {model.name: model.licence},
    inputs=digest([index.sha256.encode(), *_content(folder, manifests)]),
    stages_before=index.stages,
    manifest_suffix=MANIFEST_SUFFIX,
    share=share,
  ) as stage:
    pending = stage.pending(share)
    photos = Counter(entry.file for entry in index.entries)
    total = sum(photos[shard] for shard in pending)
    work = ShardWork(functools.partial(_make, stage, plan, model))
    with progress(STAGE, total=total) as update:
      engine.run(work, pending, update)
    if not stage.is_complete():
      logging.info("%s: other machines' shards are still missing", output)
      return None
    return _finish(folder, stage, plan, model, heldout_people, seed)


def _make(
  folder: StageFolder,
  plan: DatasetPlan,
  model: MorphableModel,
  shard: int,
  part: None,
  progress: Progress,
) -> None:
  make_shard(folder, shard, plan, model, progress)


def _finish(
  fitted: pathlib.Path,
  stage: StageFolder,
  plan: DatasetPlan,
  model: MorphableModel,
  heldout_people: Sequence[str],
  seed: int,
) -> dict[str, Any]:
  """Writes the dataset's manifest, and that the stage is done."""
  replace_file(
    stage.path / MORPHABLE_MODEL, (fitted / MORPHABLE_MODEL).read_bytes()
  )
  parts = read_parts(
    stage, {split: len(labels) for split, labels in plan.labels.items()}
  )
  settings = {
    "stage": STAGE,
    "heldout_people": [readable(name) for name in heldout_people],
    "seed": seed,
    "counts": parts.counts,
    "stages": parts.stages,
    "rejected_by_reason": parts.rejected_by_reason(),
    "rejected": parts.rejected,
    "licences": stage.licences,
    "stages_before": stage.stages_before,
  }
  manifest = write_dataset_manifest(
    stage.path,
    parts.splits,
    model,
    settings,
    template=_template_of(stage.stages_before),
  )
  stage.record(parts.counts)
  return manifest


def _template_of(stages: Sequence[Mapping[str, Any]]) -> str:
  """What the stage that made the crops aligned them by."""
  found = {template_in(stage["settings"]) for stage in stages}
  return WHOLE_FACE if WHOLE_FACE in found else SPHEREFACE


def _content(
  folder: pathlib.Path, manifests: Sequence[pathlib.Path]
) -> Iterator[bytes]:
  """Checksums of what the rows do not say."""
  paths = [folder / MORPHABLE_MODEL, *map(fits_path, manifests)]
  for path in paths:
    existing_file(path)
    yield sha256_of(path).encode()
