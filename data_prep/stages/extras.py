"""What only some users install: the extras of `pyproject.toml`."""

import importlib.util

from disentangle3d.types import UserModuleNotFoundError


def require(extra: str, what: str, *modules: str) -> None:
  """Checks that the packages of an extra are installed.

  Args:
    extra: Its name.
    what: What needs it, for the error.
    modules: What must be importable, by their top-level names.

  Raises:
    UserModuleNotFoundError: Some are not; names them and the extra.
  """
  missing = [name for name in modules if importlib.util.find_spec(name) is None]
  if missing:
    raise UserModuleNotFoundError(
      f"{what} needs {' and '.join(missing)}: install the extra `{extra}` (pip"
      f" install 'disentangle3d[{extra}]')"
    )
