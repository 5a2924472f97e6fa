"""What a compiled step moves between devices, read from its program.

A device that takes part in a ring moves, of a payload of P bytes among n: for
an all-reduce 2 (n - 1) / n P, for an all-gather or a reduce-scatter (n - 1) / n
P, where P is the larger of what goes in and what comes out.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import math
import re
import types

_BYTES = {
  **{"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2},
  **{"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8},
}
# How often its payload a ring moves, for many devices.
_ROUNDS = {
  "all-reduce": 2.0,
  "all-gather": 1.0,
  "reduce-scatter": 1.0,
  "all-to-all": 1.0,
  "collective-permute": 1.0,
}
_OPERATION = re.compile(
  r" = (?P<results>.+?) (?P<kind>" + "|".join(_ROUNDS) + r")(?:-start)?\("
)
_ARRAY = re.compile(r"(?P<type>[a-z]+\d*)\[(?P<shape>[\d,]*)\]")
_SOURCE = re.compile(r'op_name="[^"]*?([\w-]+)"')


@dataclasses.dataclass(frozen=True)
class Collective:
  """One operation that crosses devices.

  Attributes:
    kind: As XLA calls it, "all-reduce".
    what: Whose gradient, or the operation that the source calls.
    payload_bytes: P, see above.
    operations: 0 where another waits for the links already: XLA moves many
      arrays at once.
  """

  kind: str
  what: str
  payload_bytes: float
  operations: int = 1

  def moved_bytes(self, devices: int) -> float:
    """What a device sends, and receives, among so many."""
    return _ROUNDS[self.kind] * (devices - 1) / devices * self.payload_bytes


def collectives_of(
  program: str,
  devices: int,
  *,
  gradients: Mapping[int, str] = types.MappingProxyType({}),
) -> list[Collective]:
  """The collectives of a compiled program.

  Args:
    program: What `compiled.as_text()` says.
    devices: How many take part.
    gradients: Of whom an array of so many elements is the gradient.

  Returns:
    All of them, in the program's order. A CPU adds up bfloat16 in float32, and
    says so; it is counted as bfloat16.
  """
  found = []
  for line in program.splitlines():
    operation = _OPERATION.search(line)
    if operation is None:
      continue
    kind = operation["kind"]
    arrays = list(_ARRAY.finditer(operation["results"]))
    if "-start(" in line and kind != "all-reduce":
      # It gives back what it takes, first.
      arrays = arrays[len(arrays) // 2 :]
    factor = float(devices) if kind == "reduce-scatter" else 1.0
    if re.search(r"to_apply=%?[\w.]+_promoted", line):
      factor /= 2
    payloads: dict[str, float] = collections.defaultdict(float)
    for array in arrays:
      elements = math.prod(int(n) for n in array["shape"].split(",") if n)
      what = gradients.get(elements, "") if kind == "all-reduce" else ""
      payloads[what and f"gradient of {what}" or _source(line)] += (
        factor * _BYTES[array["type"]] * elements
      )
    for number, (what, payload) in enumerate(payloads.items()):
      found.append(Collective(kind, what, payload, operations=int(not number)))
  return found


def _source(line: str) -> str:
  source = _SOURCE.search(line)
  return source[1] if source else "not said"


@dataclasses.dataclass(frozen=True)
class Payload:
  """What is moved of one kind for one purpose, on any number of devices.

  Attributes:
    kind: Of the collectives.
    what: See `Collective`.
    operations: How many of them a step has.
    constant_bytes: Their payload is this
    bytes_a_device: and so much for each device.
  """

  kind: str
  what: str
  operations: int
  constant_bytes: float
  bytes_a_device: float

  def moved_bytes(self, devices: int) -> float:
    """What a device sends among so many."""
    payload = self.constant_bytes + self.bytes_a_device * devices
    return Collective(self.kind, self.what, payload).moved_bytes(devices)


def payloads_of(
  counted: Sequence[tuple[int, Sequence[Collective]]],
) -> list[Payload]:
  """The line through what was counted of the same step on several devices.

  Args:
    counted: Number of devices and collectives, of two counts or more with the
      same batch a device.

  Raises:
    ValueError: What was counted lies on no line, by more than a thousandth.
  """
  (first, few), (last, many) = counted[0], counted[-1]
  payloads = []
  for kind, what in dict.fromkeys((one.kind, one.what) for one in many):

    def total(of: Iterable[Collective], key=(kind, what)) -> float:
      return sum(o.payload_bytes for o in of if (o.kind, o.what) == key)

    slope = (total(many) - total(few)) / (last - first)
    constant = total(few) - slope * first
    for devices, between in counted:
      expected = constant + slope * devices
      if abs(total(between) - expected) > 1e-3 * max(expected, 1e3):
        raise ValueError(
          f"{what}: expected {expected:.0f} bytes on {devices} devices, got"
          f" {total(between):.0f}"
        )
    number = sum(
      one.operations for one in many if (one.kind, one.what) == (kind, what)
    )
    payloads.append(Payload(kind, what, number, constant, slope))
  return payloads
