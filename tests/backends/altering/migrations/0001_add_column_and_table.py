from django.db import migrations


class Migration(migrations.Migration):
    operations = [
        migrations.RunSQL(
            "ALTER TABLE accounts_user ADD COLUMN altered integer",
            "ALTER TABLE accounts_user DROP COLUMN altered",
        ),
        migrations.RunSQL(
            "CREATE TABLE altering_added (id bigserial PRIMARY KEY, name text)",
            "DROP TABLE altering_added",
        ),
    ]
