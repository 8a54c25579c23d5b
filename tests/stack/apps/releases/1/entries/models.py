"""Release 1: an entry has a title."""

from django.db import models


class Entry(models.Model):
    title = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title
