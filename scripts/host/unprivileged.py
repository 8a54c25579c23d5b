"""Run PostgreSQL as another user when make runs as root: PostgreSQL refuses to run as root."""

from __future__ import annotations

import dataclasses
import functools
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.host.errors import UserError

USER = "nobody"  # exists on every system


@dataclasses.dataclass(frozen=True)
class Runner:
    """A way to run a command: words before it, and further arguments of ``subprocess.Popen``."""

    prefix: tuple[str, ...] = ()
    popen_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def works(self, program: Path, folder: Path) -> bool:
        """Tell whether the program starts this way and can enter the folder."""
        probe = ["sh", "-c", 'cd "$1" && "$2" --version', "sh", str(folder), str(program)]
        try:
            return not subprocess.run(
                [*self.prefix, *probe],
                capture_output=True,
                cwd="/",
                check=False,
                **self.popen_options,
            ).returncode
        except (OSError, subprocess.SubprocessError):
            return False


@functools.cache
def find_runner(program: Path, folder: Path) -> Runner:
    """Return a way to run ``program`` on ``folder`` without being root.

    For a user other than root that is the plain command. For root it is USER, who becomes the owner
    of ``folder``. Below a folder that only root may enter, such as /root, USER also needs a
    capability to pass: CAP_DAC_READ_SEARCH or, in a container without it, CAP_DAC_OVERRIDE. The
    server calls access(2) on its own file. That call ignores capabilities unless no_setuid_fixup is
    set; see capabilities(7).

    Raises UserError if no way works.
    """
    if os.geteuid() != 0:
        return Runner()
    nobody = pwd.getpwnam(USER)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    candidates = [Runner(popen_options=identity)]
    if sys.platform == "linux" and (setpriv := shutil.which("setpriv")):
        for capability in ("dac_read_search", "dac_override"):
            prefix = (
                *(setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}"),
                *("--clear-groups", "--securebits=+no_setuid_fixup"),
                f"--inh-caps=-all,+{capability}",
                f"--ambient-caps=-all,+{capability}",
            )
            candidates.append(Runner(prefix))
    for candidate in candidates:
        if candidate.works(program, folder):
            return candidate
    raise UserError(
        f"PostgreSQL refuses to run as root, and the user {USER} may not enter {folder}. Move the "
        "clone to a folder that others may enter, or run make as an ordinary user."
    )
