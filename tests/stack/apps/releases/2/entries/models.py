"""Release 2: an entry has a headline instead."""

from django.db import models


class Entry(models.Model):
    headline = models.CharField(max_length=100, db_default="")

    def __str__(self) -> str:
        return self.headline
