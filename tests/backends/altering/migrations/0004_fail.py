from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("altering", "0003_index_concurrently")]

    operations = [
        migrations.RunSQL(
            "SET LOCAL statement_timeout = '10ms'; SELECT pg_sleep(1)", migrations.RunSQL.noop
        ),
    ]
