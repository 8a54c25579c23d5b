"""How PostgreSQL, which refuses to run as root, runs when the user is root."""

from __future__ import annotations

import dataclasses
import functools
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.host.trouble import Trouble

USER = "nobody"  # exists everywhere; no user is made


@dataclasses.dataclass(frozen=True)
class Runner:
    """What turns a command into one that does not run as root."""

    prefix: tuple[str, ...] = ()
    popen: tuple[tuple[str, Any], ...] = ()

    def works(self, program: Path, folder: Path) -> bool:
        """Tell whether the program starts this way and reaches the folder."""
        probe = ["sh", "-c", 'cd "$1" && "$2" --version', "sh", str(folder), str(program)]
        try:
            return not subprocess.run(
                [*self.prefix, *probe],
                capture_output=True,
                cwd="/",
                check=False,
                **dict(self.popen),
            ).returncode
        except (OSError, subprocess.SubprocessError):
            return False


@functools.cache
def runner(program: Path, folder: Path) -> Runner:
    """Return how to run ``program`` on ``folder``, which is made over to its user.

    A user other than root runs it plainly. As root it runs as USER; below a folder that only root
    may enter, as /root is, with one capability more, to pass through folders: CAP_DAC_READ_SEARCH
    or, in a container that has not got it, CAP_DAC_OVERRIDE. The server asks access(2) about its
    own file, which forgets capabilities unless no_setuid_fixup is set: capabilities(7).

    Raises Trouble where none of this is allowed.
    """
    if os.geteuid() != 0:
        return Runner()
    nobody = pwd.getpwnam(USER)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    candidates = [
        Runner(popen=(("user", nobody.pw_uid), ("group", nobody.pw_gid), ("extra_groups", [])))
    ]
    if sys.platform == "linux" and (setpriv := shutil.which("setpriv")):
        identity = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        candidates += [
            Runner(
                prefix=(
                    setpriv,
                    *identity,
                    "--securebits=+no_setuid_fixup",
                    f"--inh-caps=-all,+{capability}",
                    f"--ambient-caps=-all,+{capability}",
                )
            )
            for capability in ("dac_read_search", "dac_override")
        ]
    for candidate in candidates:
        if candidate.works(program, folder):
            return candidate
    raise Trouble(
        f"PostgreSQL does not run as root, and here the user {USER} may not enter {folder}: move "
        "the clone to a folder that others may enter, or run make as a normal user."
    )
