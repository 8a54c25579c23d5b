"""The import layers that `make lint` checks."""

import itertools
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_of_src_belongs_to_a_layer() -> None:
    """import-linter silently ignores a package that pyproject.toml does not name."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(one["layers"] for one in linter["contracts"] if one["type"] == "layers")
    named = itertools.chain.from_iterable(layer.split(" | ") for layer in layers)
    packages = {file.parent.name for file in ROOT.glob("src/*/__init__.py")}
    assert set(named) == packages
    assert packages < set(linter["root_packages"])
