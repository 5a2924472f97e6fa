"""What the evaluation binaries read: networks by name, a dataset's world."""

from collections.abc import Mapping, Sequence

from data_prep.stages.flag_values import parse_all_named
from disentangle3d.training.export import Network, load_network
from disentangle3d.types import UserError


def read_networks(named: Sequence[str]) -> dict[str, Network]:
  """The networks of `--network=NAME=PATH` or `PATH` flags, in their order.

  Raises:
    UserError: A name or a path is empty, or a name comes twice.
    UserFileNotFoundError: There is no export.
  """
  return {
    name: load_network(path)
    for name, path in parse_all_named("network", named).items()
  }


def check_vertices(
  networks: Mapping[str, Network], num_vertices: int, whose: str
) -> None:
  """Raises UserError unless all networks have as many vertices."""
  for name, network in networks.items():
    has = network.model.num_vertices
    if has != num_vertices:
      raise UserError(
        f"--network={name}: expected {num_vertices} vertices as the {whose}"
        f" has, got {has}"
      )
