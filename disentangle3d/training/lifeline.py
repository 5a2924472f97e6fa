"""A line between processes that tells at once when one of them is gone.

What CPU devices of different processes talk through may wait forever for one
that was killed, and JAX's own heartbeat ends the process without an orderly
message. So every process keeps a connection to process 0: one that ends
without goodbye is a process that is gone. A host without power or network is
noticed by the keepalive of the connection, after half a minute.
"""

from collections.abc import Callable, Iterator
import contextlib
import secrets
import socket
import threading

import jax
from jax.experimental import multihost_utils
import numpy as np

_TOKEN_BYTES = 16
_GOODBYE = b"."
_TIMEOUT_S = 120
# Seconds of silence, seconds between probes, probes: where there are such.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


@contextlib.contextmanager
def lifeline(host: str, on_loss: Callable[[int], None]) -> Iterator[None]:
  """Watches the other processes while the block runs.

  Args:
    host: Where the others reach process 0; "" is where its route out leads.
    on_loss: Called in a thread of its own with the number of a process that
      is gone; process 0 hears of all, the others of process 0.

  Yields:
    Nothing. A block that raises says no goodbye.

  Raises:
    OSError: The processes cannot connect to process 0.
  """
  if jax.process_count() == 1:
    yield
    return
  token = secrets.token_bytes(_TOKEN_BYTES)
  if jax.process_index():
    address, port, token = _announced("0.0.0.0", 0, token)
    lines = [(0, _connected(host or address, port, token))]
  else:
    lines = _accepted(token)
  leaving = threading.Event()
  for number, line in lines:
    threading.Thread(
      target=_watch, args=(line, number, leaving, on_loss), daemon=True
    ).start()
  yield
  leaving.set()
  for _, line in lines:
    # The other may have left already.
    with contextlib.suppress(OSError):
      line.sendall(_GOODBYE)
      line.shutdown(socket.SHUT_WR)


def _watch(
  line: socket.socket,
  number: int,
  leaving: threading.Event,
  on_loss: Callable[[int], None],
) -> None:
  try:
    said = line.recv(1)
  except OSError:
    said = b""
  if said != _GOODBYE and not leaving.is_set():
    on_loss(number)


def _accepted(token: bytes) -> list[tuple[int, socket.socket]]:
  """Process 0: a line from each other process that knows the token."""
  server = socket.create_server(("", 0), backlog=jax.process_count())
  server.settimeout(_TIMEOUT_S)
  _announced(_own_address(), server.getsockname()[1], token)
  lines: dict[int, socket.socket] = {}
  while len(lines) < jax.process_count() - 1:
    line, _ = server.accept()
    line.settimeout(_TIMEOUT_S)
    said = _received(line, _TOKEN_BYTES + 4)
    number = int.from_bytes(said[_TOKEN_BYTES:], "big")
    if secrets.compare_digest(said[:_TOKEN_BYTES], token):
      lines[number] = _kept_alive(line)
    else:
      line.close()
  server.close()
  return list(lines.items())


def _connected(host: str, port: int, token: bytes) -> socket.socket:
  """Another process: its line to process 0."""
  line = socket.create_connection((host, port), timeout=_TIMEOUT_S)
  line.sendall(token + jax.process_index().to_bytes(4, "big"))
  return _kept_alive(line)


def _announced(address: str, port: int, token: bytes) -> tuple[str, int, bytes]:
  """What process 0 says, on all."""
  packed = b"".join((socket.inet_aton(address), port.to_bytes(2, "big"), token))
  said = multihost_utils.broadcast_one_to_all(np.frombuffer(packed, np.uint8))
  heard = np.asarray(said, np.uint8).tobytes()
  return (
    socket.inet_ntoa(heard[:4]),
    int.from_bytes(heard[4:6], "big"),
    heard[6:],
  )


def _own_address() -> str:
  """The address of this host's route out; connecting by UDP sends nothing."""
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    try:
      probe.connect(("192.0.2.1", 9))  # RFC 5737: nobody's
      return probe.getsockname()[0]
    except OSError:
      # Without a route out, no other process is elsewhere.
      return "127.0.0.1"


def _received(line: socket.socket, size: int) -> bytes:
  got = b""
  try:
    while len(got) < size and (more := line.recv(size - len(got))):
      got += more
  except OSError:
    return b""
  return got


def _kept_alive(line: socket.socket) -> socket.socket:
  line.settimeout(None)
  line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
  for name, value in _KEEPALIVE.items():
    if hasattr(socket, name):
      line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
  return line
