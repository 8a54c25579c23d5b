"""The keys of unique tasks."""

from django.db import models


class UniqueKey(models.Model):  # noqa: DJ008 - nothing shows one
    """The task that was last enqueued with a key; see backend.Backend.enqueue."""

    key = models.CharField(max_length=64, primary_key=True)
    task = models.ForeignKey("django_ox.OxTask", on_delete=models.CASCADE, null=True)
