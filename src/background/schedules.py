"""Work that runs by the clock. Each entry runs once, however many workers there are.

`manage.py` runs the same commands as one-offs, for a scheduler outside such as ECS's.
"""

from typing import Any


def command(cron: str, *words: str) -> dict[str, Any]:
    """Run ``manage.py WORDS…`` at the times of a five-field cron expression, in UTC."""
    return {"task": "background.tasks.run_command", "args": list(words), "cron": cron}


SCHEDULES = {
    # Every day at 03:00 UTC: sessions that have expired.
    "clear-sessions": command("0 3 * * *", "clearsessions"),
    # Every day at 03:10 and 03:20 UTC: finished tasks, and failed ones that nobody ran again.
    "prune-finished-tasks": command("10 3 * * *", "ox_prune", "--older-than=7d"),
    "prune-failed-tasks": command("20 3 * * *", "ox_prune", "--older-than=90d", "--include-failed"),
}
