"""Report known vulnerabilities of the locked packages and of a bill of materials.

audit.py SBOM [ARGS…] passes ARGS to pip-audit. It runs with the packages of requirements/sbom.txt.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCKED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
# What pip-audit's tracebacks say when the service does not answer as it should.
UNREACHABLE = re.compile(
    r"connect|resolve|timed? ?out|proxy|certificate|HTTPError|ServiceError|JSONDecodeError",
    re.IGNORECASE,
)


def locked_packages() -> set[tuple[str, str]]:
    """Return the name and version of each package in requirements/."""
    locks = Path("requirements").glob("*.txt")
    return {found for lock in locks for found in LOCKED.findall(lock.read_text())}


def listed_packages(sbom: str) -> set[tuple[str, str]]:
    """Return the name and version of each component of a CycloneDX document."""
    components = json.loads(Path(sbom).read_text())["components"]
    return {(part["name"], part["version"]) for part in components}


def rounds(packages: set[tuple[str, str]]) -> list[list[str]]:
    """Return lists of requirements; pip-audit accepts only one version of a package at once."""
    versions: dict[str, set[str]] = {}
    for name, version in packages:
        versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(version)
    columns = [[f"{name}=={each}" for each in sorted(versions[name])] for name in sorted(versions)]
    return [[*filter(None, row)] for row in itertools.zip_longest(*columns)]


def audit(requirements: list[str], *arguments: str) -> list[dict[str, Any]]:
    """Return pip-audit's findings, one for each requirement; exits when it cannot audit them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text("\n".join(requirements))
        options = ["--no-deps", "--disable-pip", "--progress-spinner=off", f"--cache-dir={folder}"]
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *options, "--format=json", "-r", file, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    found: list[dict[str, Any]] = []
    if done.stdout.startswith("{"):
        found = json.loads(done.stdout)["dependencies"]
    # A mirror without advisories knows no package at all.
    if any("skip_reason" not in package for package in found):
        return found
    if found or UNREACHABLE.search(done.stderr):
        sys.exit(
            "The service that lists vulnerabilities cannot be reached. Check the network, or set "
            "HTTPS_PROXY or CA_BUNDLE, and run make audit again."
        )
    sys.exit(f"{done.stderr}pip-audit failed. The reason is above.")


def main(sbom: str, *arguments: str) -> int:
    """Print what is known; return 1 if a package is vulnerable or was not audited."""
    packages = locked_packages() | listed_packages(sbom)
    findings = [found for each in rounds(packages) for found in audit(each, *arguments)]
    flagged = 0
    for package in findings:
        if reason := package.get("skip_reason"):
            print(f"{package['name']}: not audited ({reason})")
        for known in package.get("vulns", ()):
            fixed = ", ".join(known["fix_versions"]) or "no version yet"
            ids = ", ".join([known["id"], *known["aliases"]])
            print(f"{package['name']} {package['version']}: {ids}; fixed in {fixed}")
        flagged += not package.get("version") or bool(package["vulns"])
    if flagged:
        print(
            f"{flagged} of {len(findings)} packages are vulnerable or were not audited. Run "
            'make lock UPGRADE=1, or accept a vulnerability with ARGS="--ignore-vuln ID".',
            file=sys.stderr,
        )
        return 1
    print(f"No known vulnerabilities in {len(findings)} packages.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
