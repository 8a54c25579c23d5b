from typing import Any

from django.db import migrations


def remove_content_types(apps: Any, _schema_editor: Any) -> None:
    """Remove the permissions of django-axes, which the admin would still offer.

    The tables stay: replicas of the previous release use them during a deployment.
    """
    apps.get_model("contenttypes", "ContentType").objects.filter(app_label="axes").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_attempt_counter_locked"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.RunPython(remove_content_types, migrations.RunPython.noop, elidable=True),
    ]
