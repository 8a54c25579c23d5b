"""Scheduled tasks. Each entry runs once, however many workers there are.

An external scheduler, such as ECS's, may run the same commands of manage.py as one-offs.
"""

from typing import Any


def command(cron: str, *words: str) -> dict[str, Any]:
    """Return a schedule for ``manage.py WORDS…``; ``cron`` is a five-field expression in UTC."""
    return {"task": "background.tasks.run_command", "args": list(words), "cron": cron}


SCHEDULES = {
    # Every day at 03:00 UTC: delete expired sessions.
    "clear-sessions": command("0 3 * * *", "clearsessions"),
    # Every day at 03:10 and 03:20 UTC: delete old finished and failed tasks.
    "prune-finished-tasks": command("10 3 * * *", "ox_prune", "--older-than=7d"),
    "prune-failed-tasks": command("20 3 * * *", "ox_prune", "--older-than=90d", "--include-failed"),
}

# With MCP_HUB only.
MCP_SCHEDULES = {
    # Every day at 03:30, 03:40 and 03:50 UTC: delete expired tokens, then the clients without any.
    "clear-tokens": command("30 3 * * *", "cleartokens"),
    "clear-clients": command("40 3 * * *", "clear_clients"),
    "clear-client-metadata": command("50 3 * * *", "clearcimdapplications"),
}
