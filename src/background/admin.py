"""The list of tasks in the admin, with their status, its age and the number of attempts."""

from django.contrib import admin
from django.utils.timesince import timesince
from django_ox.admin import OxTaskAdmin
from django_ox.models import OxSchedule, OxTask

# Schedules are declared in schedules.py.
admin.site.unregister([OxTask, OxSchedule])


@admin.register(OxTask)
class TaskAdmin(OxTaskAdmin):
    """django-ox's admin, whose actions run a failed task again or discard it."""

    list_display = ("name", "status", "age", "attempts", "enqueued_at", "finished_at", "id")
    list_display_links = ("name",)

    @admin.display(description="task", ordering="task_path")
    def name(self, task: OxTask) -> str:
        """Return the task's function, with the command that it runs."""
        words = " ".join(task.args) if task.task_path == "background.tasks.run_command" else ""
        return f"{task.task_path} {words}".rstrip()

    @admin.display(description="for")
    def age(self, task: OxTask) -> str:
        """Return how long the task has had its status."""
        since = task.finished_at
        if task.status == OxTask.Status.READY:
            since = task.enqueued_at
        elif task.status == OxTask.Status.RUNNING:
            since = task.last_attempted_at
        return timesince(since) if since else ""
