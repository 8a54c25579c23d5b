"""The import layers that `make lint` checks."""

import itertools
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_of_src_belongs_to_a_layer() -> None:
    """import-linter silently ignores a package that pyproject.toml does not name."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = linter["contracts"]
    named = set(itertools.chain.from_iterable(one.split(" | ") for one in contract["layers"]))
    packages = {file.parent.name for file in ROOT.glob("src/*/__init__.py")}
    assert named == set(linter["root_packages"]) == packages | {"scripts", "tests"}
