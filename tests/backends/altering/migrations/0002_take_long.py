from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("altering", "0001_add_column_and_table")]
    # Longer than a statement of a request may take.
    operations = [migrations.RunSQL("SELECT pg_sleep(3.3)", migrations.RunSQL.noop)]
