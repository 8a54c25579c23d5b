from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("altering", "0002_take_long")]
    operations = [
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY altered ON accounts_user (altered)",
            "DROP INDEX CONCURRENTLY altered",
        )
    ]
