import django.db.models.deletion
from django.db import migrations, models

# Notifies background.worker.CHANNEL once per statement. PostgreSQL delivers the notification when
# the transaction commits.
NOTIFY = """
CREATE FUNCTION background_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('background_task', '');
  RETURN NULL;
END
$$;
CREATE TRIGGER background_notify AFTER INSERT ON django_ox_oxtask
  FOR EACH STATEMENT EXECUTE FUNCTION background_notify();
"""
DO_NOT_NOTIFY = """
DROP TRIGGER background_notify ON django_ox_oxtask;
DROP FUNCTION background_notify();
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = [("django_ox", "0008_waiting")]

    operations = [
        migrations.CreateModel(
            name="UniqueKey",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                (
                    "task",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        to="django_ox.oxtask",
                    ),
                ),
            ],
        ),
        migrations.RunSQL(NOTIFY, DO_NOT_NOTIFY),
    ]
