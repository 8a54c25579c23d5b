from django.db import migrations

BATCH = """
UPDATE entries_entry SET headline = title WHERE id IN (
  SELECT id FROM entries_entry WHERE headline <> title LIMIT 1000
)
"""


def copy_titles(_apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(BATCH)
        while cursor.rowcount:
            cursor.execute(BATCH)


class Migration(migrations.Migration):
    # Each batch is a transaction, so that requests wait for the lock of a row only briefly.
    atomic = False
    dependencies = [("entries", "0002_expand")]

    operations = [migrations.RunPython(copy_titles, migrations.RunPython.noop)]
