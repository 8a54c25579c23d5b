"""Check connection options with libpq itself, without connecting."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from environs import ValidationError
from psycopg import pq
from psycopg.conninfo import make_conninfo

# libpq parses these only after it has a connection, so they are checked here.
# https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
INTEGER_OPTIONS = frozenset(
    {
        "connect_timeout",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "tcp_user_timeout",
    }
)
# libpq validates its options before it parses the address, and stops there.
NO_ADDRESS = "not-an-address"
# Without a login, libpq looks up the process's user, who has no name in the ecs image.
LOGIN = {"user": "any", "password": "any"}


def validate_options(options: Mapping[str, Any]) -> None:
    """Raise ValidationError when libpq would refuse the options at connect."""
    keywords = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    if options.keys() - keywords:
        # The message omits the name, which may be part of a password that was not quoted.
        raise ValidationError("After the ?, it has an option that libpq does not know.")
    # "system" stands for the operating system's certificate authorities.
    certificates = str(options.get("sslrootcert", "system"))
    if certificates != "system" and not os.path.isfile(certificates):
        raise ValidationError("sslrootcert is not the path of a file.")
    if refuses(options):
        refused = [name for name, value in options.items() if refuses({name: value})]
        # libpq takes its defaults from variables such as PGSSLMODE, which may be invalid too.
        names = ", ".join(refused or options) or "a PG… variable of the environment"
        raise ValidationError(f"libpq refuses {names}.")


def refuses(options: Mapping[str, Any]) -> bool:
    """Return whether libpq refuses the options. It must know their names."""
    if any(
        not re.fullmatch(r"-?[0-9]{1,9}", str(value))
        for name, value in options.items()
        if name in INTEGER_OPTIONS
    ):
        return True
    conninfo = make_conninfo(**{**LOGIN, **options, "hostaddr": NO_ADDRESS})
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        return NO_ADDRESS.encode() not in connection.error_message
    finally:
        connection.finish()
