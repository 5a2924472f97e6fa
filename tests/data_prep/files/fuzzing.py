"""Damage for files, and what a reader may do about it."""

from collections.abc import Callable
import pathlib

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

# The same examples every time, and none kept on disk.
FEW = settings(
  max_examples=60,
  derandomize=True,
  database=None,
  deadline=None,
  phases=[Phase.generate, Phase.shrink],
  suppress_health_check=list(HealthCheck),
)
# Numbers that lie about a length, a count or an offset.
LIES = [
  value.to_bytes(size, order)
  for size in (1, 2, 4, 8)
  for order in ("little", "big")
  for value in (0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1))
]


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
  """Bytes of a good file changed, cut, followed by others; or any bytes."""
  # Headers are where the sizes are.
  header = st.integers(0, min(len(good), 256))
  place = st.integers(0, len(good)) | header
  patch = st.one_of(st.sampled_from(LIES), st.binary(max_size=6))
  edit = st.tuples(place, st.one_of(st.just(-1), st.integers(0, 9)), patch)

  def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
    content = good
    for at, cut, new in edits:
      # -1 overwrites as many bytes as there are new ones.
      content = (
        content[:at] + new + content[at + (len(new) if cut < 0 else cut) :]
      )
    return content

  return st.one_of(
    st.lists(edit, min_size=1, max_size=4).map(apply),
    place.map(lambda end: good[:end]),
    st.tuples(place, st.binary(max_size=200)).map(
      lambda parts: good[: parts[0]] + parts[1]
    ),
    st.binary(max_size=300),
  )


def check_reader(
  read: Callable[[pathlib.Path], object], path: pathlib.Path, content: bytes
) -> None:
  """Raises unless the reader accepts the bytes or names the file."""
  path.write_bytes(content)
  try:
    read(path)
  except ValueError as error:
    message = str(error)
    if not message.startswith(str(path)):
      raise AssertionError(f"the file is not named: {message}") from error
    if "\n" in message:
      raise AssertionError(f"more than a line: {message}") from error
