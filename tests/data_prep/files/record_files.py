"""RecordIO files of the exact layout, written from its description."""

import pathlib
import struct

MAGIC = struct.pack("<I", 0xCED7230A)


def header(key: int, *labels: float) -> bytes:
  """IRHeader: one label lies in it, more follow it and are counted."""
  if len(labels) == 1:
    return struct.pack("<IfQQ", 0, labels[0], key, 0)
  count = len(labels)
  return struct.pack(f"<IfQQ{count}f", count, 0.0, key, 0, *labels)


def framed(payload: bytes) -> bytes:
  """The record around a payload, split where it holds the magic."""
  cuts = [
    at for at in range(0, len(payload) - 3, 4) if payload[at : at + 4] == MAGIC
  ]
  edges = [-4, *cuts, len(payload)]
  parts = [
    payload[a + 4 : b] for a, b in zip(edges[:-1], edges[1:], strict=True)
  ]
  kinds = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
  return b"".join(
    MAGIC
    + struct.pack("<I", kind << 29 | len(part))
    + part
    + bytes(-len(part) % 4)
    for kind, part in zip(kinds, parts, strict=True)
  )


def write_records(path: pathlib.Path, payloads: dict[int, bytes]) -> None:
  """Writes the .rec and its .idx, in the order given."""
  content, index = b"", ""
  for key, payload in payloads.items():
    index += f"{key}\t{len(content)}\n"
    content += framed(payload)
  path.write_bytes(content)
  path.with_suffix(".idx").write_text(index)


def insightface_payloads(people: list[list[bytes]]) -> dict[int, bytes]:
  """Images first, then a record a person, then record 0, as insightface has.

  Keys are 1, 2, ...; person p has label p.
  """
  payloads, ranges, key = {}, [], 1
  for label, images in enumerate(people):
    ranges.append((key, key + len(images)))
    for image in images:
      payloads[key] = header(key, label, 1.0) + image
      key += 1
  first_person = key
  for first, end in ranges:
    payloads[key] = header(key, first, end)
    key += 1
  payloads[0] = header(0, first_person, key)
  return payloads
