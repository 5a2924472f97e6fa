"""What the evaluation binaries read: networks by name, a dataset's world."""

from collections.abc import Mapping, Sequence

from data_prep.stages.flag_words import parse_all_named
from disentangle3d.faces.morphable_model import MorphableModel
from disentangle3d.training.export import Network, load_network
from disentangle3d.types import UserError


def read_networks(
  named: Sequence[str], fitter: MorphableModel | None = None
) -> dict[str, Network]:
  """The networks of `--network=NAME=PATH` or `PATH` flags, in their order.

  Args:
    named: The flags' values.
    fitter: The 3DMM that their shapes must go with, or None.

  Raises:
    UserError: A name or a path is empty, a name comes twice, or a network has
      another number of vertices.
    UserFileNotFoundError: There is no export.
  """
  networks = {
    name: load_network(path)
    for name, path in parse_all_named("network", named).items()
  }
  if fitter is not None:
    check_vertices(networks, fitter.num_vertices, "dataset's 3DMM")
  return networks


def check_vertices(
  networks: Mapping[str, Network], num_vertices: int, whose: str
) -> None:
  """Raises ValueError unless all networks have as many vertices."""
  for name, network in networks.items():
    has = network.model.num_vertices
    if has != num_vertices:
      raise UserError(
        f"--network={name}: expected {num_vertices} vertices as the {whose}"
        f" has, got {has}"
      )
