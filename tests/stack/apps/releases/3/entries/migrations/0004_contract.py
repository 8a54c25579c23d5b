from django.db import migrations

CONTRACT = """
DROP TRIGGER entries_copy ON entries_entry;
DROP FUNCTION entries_copy();
ALTER TABLE entries_entry DROP COLUMN title;
"""


# allow ban-drop-column: release 2 does not use the column.
class Migration(migrations.Migration):
    dependencies = [("entries", "0003_backfill")]

    operations = [migrations.RunSQL(CONTRACT)]
