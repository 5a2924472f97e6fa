"""Damage for files, and what a reader may do about it."""

from collections.abc import Callable
import pathlib

from hypothesis import settings, strategies

# The same examples every time, and none kept on disk.
FEW = settings(max_examples=60, derandomize=True, deadline=None, database=None)


@strategies.composite
def damaged(draw, whole: bytes) -> bytes:
  """Bytes of a good file changed, cut, doubled; or any bytes at all."""
  kind = draw(strategies.sampled_from(["bytes", "cut", "spoil", "insert"]))
  if kind == "bytes":
    return draw(strategies.binary(max_size=200))
  at = draw(strategies.integers(0, len(whole)))
  if kind == "cut":
    return whole[:at]
  if kind == "insert":
    return whole[:at] + draw(strategies.binary(max_size=20)) + whole[at:]
  content = bytearray(whole)
  # Headers are where the sizes are.
  places = strategies.one_of(
    strategies.integers(0, len(whole) - 1),
    strategies.integers(0, min(len(whole), 256) - 1),
  )
  for _ in range(draw(strategies.integers(1, 8))):
    content[draw(places)] = draw(
      strategies.sampled_from([0, 1, 2, 127, 128, 254, 255])
      | strategies.integers(0, 255)
    )
  return bytes(content)


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
