"""Tar shards as WebDataset reads and writes them: a key, an example.

Members of one name up to the first dot of its last part are one example, as
`00000_000017.png` and `00000_000017.json`. Here the JSON has `subject` and
`image_id`; others' shards have the person's number in a `.cls`, or `label` in
the JSON.
"""

from collections.abc import Iterator, Mapping
import contextlib
import io
import json
import pathlib
import posixpath
import tarfile

from data_prep.files.archives import TarArchive
from disentangle3d.output_files import new_file
from disentangle3d.types import UserError

_LABELS = (".cls", ".json")


class TarShard:
  """A tar that is being written; the same bytes for the same examples."""

  def __init__(self, file: tarfile.TarFile):
    self._file = file

  def add(self, key: str, parts: Mapping[str, bytes | int | Mapping]) -> None:
    """Adds an example.

    Args:
      key: Its name, without a dot.
      parts: By suffix without its dot: bytes, a number, or a JSON object.
    """
    for suffix, part in parts.items():
      match part:
        case bytes():
          content = part
        case int():
          content = str(part).encode()
        case _:
          content = json.dumps(part, sort_keys=True).encode()
      member = tarfile.TarInfo(f"{key}.{suffix}")
      member.size, member.mode = len(content), 0o644
      self._file.addfile(member, io.BytesIO(content))


@contextlib.contextmanager
def new_tar_shard(path: pathlib.Path) -> Iterator[TarShard]:
  """A tar shard to fill, which is there when the block ends well."""
  with new_file(path) as partial, tarfile.open(partial, "w") as file:
    yield TarShard(file)


def has_examples(names: list[str]) -> bool:
  """Whether members of an archive are examples with labels, by their names."""
  labelled = {key_of(name) for name in names if name.endswith(_LABELS)}
  return any(
    key_of(name) in labelled for name in names if not name.endswith(_LABELS)
  )


def read_labels(archive: TarArchive) -> dict[str, dict[str, str]]:
  """Subject, and image id where it is said, of each key that has a label.

  Raises:
    UserError: A label cannot be read as one; names archive and member.
  """
  found: dict[str, dict[str, str]] = {}
  for name in archive.names():
    if name.endswith(_LABELS):
      label = _label(archive, name)
      # What says more stands.
      if label and len(label) >= len(found.get(key_of(name), {})):
        found[key_of(name)] = label
  return found


def _label(archive: TarArchive, name: str) -> dict[str, str]:
  here = f"{archive.path}::{name}"
  try:
    text = archive.read(name).decode()
    if name.endswith(".cls"):
      return {"subject": text.strip()}
    content = json.loads(text)
    subject = content.get("subject", content.get("label"))
    image_id = content.get("image_id")
  except (ValueError, AttributeError) as error:
    raise UserError(
      f"{here}: expected a label, a number or a JSON object ({error})"
    ) from error
  if subject is None:
    return {}
  label = {"subject": str(subject), "image_id": image_id}
  return {key: str(value) for key, value in label.items() if value is not None}


def key_of(name: str) -> str:
  """What the members of one example have in common."""
  folder, last = posixpath.split(name)
  return posixpath.join(folder, last.partition(".")[0])
