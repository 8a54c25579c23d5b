"""The backend of Django's Tasks API: django-ox on PostgreSQL, with three additions.

See https://docs.djangoproject.com/en/6.1/topics/tasks/ and docs/tasks.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.db import transaction
from django.tasks.base import Task as DjangoTask
from django.tasks.base import TaskResult
from django_ox.backend import OxBackend
from django_ox.results import task_result_from_db
from django_ox.tasks import PolicyTask
from structlog.contextvars import get_contextvars

# The keyword argument that carries the id of the enqueuing request to the worker.
REQUEST_ID = "_request_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task[**P, R](PolicyTask[P, R]):
    """A task with the options of django-ox (max_attempts, backoff, timeout) and ``unique``.

    With ``unique``, at most one task with the same arguments waits: ``enqueue()`` returns the
    waiting one instead of adding another. A running task does not count, since it may have read
    its data before the caller's change.
    """

    unique: bool = False


class Backend(OxBackend):
    """OxBackend with unique tasks, and with the request's id in the worker's log.

    Migration 0001 makes the third addition: a trigger notifies workers of new tasks.
    """

    task_class = Task

    def enqueue[**P, R](
        self, task: DjangoTask[P, R], args: list[Any], kwargs: dict[str, Any]
    ) -> TaskResult[P, R]:
        """Add a task in the caller's transaction; workers see it when that commits."""
        request_id = get_contextvars().get("request_id")
        stored = kwargs | {REQUEST_ID: request_id} if request_id else kwargs
        if not getattr(task, "unique", False):
            return super().enqueue(task, args, stored)

        from django_ox.models import OxTask

        from background.models import UniqueKey

        key = unique_key(task, args, kwargs)
        with transaction.atomic():
            # Both locks last until the caller's transaction ends. The first blocks other enqueues
            # of this key. The second keeps workers from starting the waiting task before the
            # commit, so that the task sees the caller's changes.
            holder, _ = UniqueKey.objects.select_for_update().get_or_create(key=key)
            waiting = (
                OxTask.objects.select_for_update()
                .filter(uniquekey=holder, status=OxTask.Status.READY)
                .first()
            )
            if waiting:
                return cast("TaskResult[P, R]", task_result_from_db(waiting, task=task))
            result = super().enqueue(task, args, stored)
            UniqueKey.objects.filter(key=key).update(task=result.id)
            return result


def unique_key(task: DjangoTask[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a key that is equal for two calls of a task with the same arguments."""
    call = [task.module_path, task.queue_name, args, kwargs]
    return hashlib.sha256(json.dumps(call, sort_keys=True).encode()).hexdigest()
