"""Unsafe migrations are found by `make lint`, and stop `make migrate`."""

from __future__ import annotations

import functools
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from django.apps import apps
from django.contrib.postgres.operations import (
    AddConstraintNotValid,
    AddIndexConcurrently,
    CreateExtension,
    RemoveIndexConcurrently,
    ValidateConstraint,
)
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import OperationalError, connection, models
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.migrations import Migration, operations
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState
from django.db.models.functions import UUID4, Now
from django.test import override_settings
from pytest_django import Settings

from accounts.models import User
from development.apps import check_unapplied_migrations
from development.migration_linter import RULES, Rule, check_migration

ROOT = Path(__file__).parents[2]
RELEASES = ROOT / "tests/stack/apps/releases"
POSITIVE = models.CheckConstraint(condition=models.Q(number__gt=0), name="positive")
UNIQUE = models.UniqueConstraint(fields=["text"], name="unique_text")
INDEX = models.Index(fields=["text"], name="text")
TABLES = [
    operations.CreateModel("Author", [("id", models.BigAutoField(primary_key=True))]),
    operations.CreateModel(
        "Note",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("text", models.CharField(max_length=100)),
            ("number", models.IntegerField(null=True)),
            ("owner_id", models.BigIntegerField(null=True)),
        ],
        options={"indexes": [models.Index(fields=["number"], name="old")]},
    ),
]


CREATE_TABLE = """
from django.db import migrations, models

class Migration(migrations.Migration):
    operations = [
        migrations.CreateModel(
            "Note",
            [("id", models.BigAutoField(primary_key=True)), ("text", models.TextField())],
        )
    ]
"""
DROP_COLUMN = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("planted", "0001_table")]
    operations = [migrations.RemoveField("Note", "text")]
"""


def add(name: str, field: models.Field[Any, Any]) -> Operation:
    return operations.AddField("Note", name, field)


def alter(name: str, field: models.Field[Any, Any]) -> Operation:
    return operations.AlterField("Note", name, field)


def foreign_key(**options: Any) -> models.Field[Any, Any]:
    return models.ForeignKey("Author", models.CASCADE, **options)


def rules(*changes: Operation, atomic: bool = True) -> set[str]:
    """Return the rules that a migration of these operations breaks."""
    state = ProjectState()
    for change in TABLES:
        change.state_forwards("planted", state)
    planted = type("Planted", (Migration,), {"operations": changes, "atomic": atomic})
    return {finding.rule for finding in check_migration(planted("0002_change", "planted"), state)}


def change_rows(*_args: Any) -> None:
    """Stands for a change of many rows."""


UNSAFE = {
    "drop a column": ("ban-drop-column", operations.RemoveField("Note", "text")),
    "drop a table": ("ban-drop-table", operations.DeleteModel("Note")),
    "rename a column": ("renaming-column", operations.RenameField("Note", "text", "body")),
    "rename a table": ("renaming-table", operations.RenameModel("Note", "Memo")),
    "required column": ("adding-required-field", add("size", models.IntegerField(default=0))),
    "calculated column": (
        "adding-field-with-default",
        add("key", models.UUIDField(db_default=UUID4())),
    ),
    "checked column": (
        "adding-field-with-check",
        add("size", models.PositiveIntegerField(db_default=0)),
    ),
    "unique column": (
        "disallowed-unique-constraint",
        add("code", models.IntegerField(null=True, unique=True)),
    ),
    "required foreign key": (
        "adding-foreign-key-constraint",
        add("author", foreign_key(db_default=1, db_index=False)),
    ),
    "other type": ("changing-column-type", alter("number", models.BigIntegerField(null=True))),
    "shorter text": ("changing-column-type", alter("text", models.CharField(max_length=50))),
    "no more NULL": ("adding-not-nullable-field", alter("number", models.IntegerField())),
    "index": ("require-concurrent-index-creation", operations.AddIndex("Note", INDEX)),
    "index in a transaction": (
        "ban-concurrent-index-creation-in-transaction",
        AddIndexConcurrently("Note", INDEX),
    ),
    "drop an index": ("require-concurrent-index-deletion", operations.RemoveIndex("Note", "old")),
    "check": ("constraint-missing-not-valid", operations.AddConstraint("Note", POSITIVE)),
    "unique": ("disallowed-unique-constraint", operations.AddConstraint("Note", UNIQUE)),
    # Django also drops the index that LIKE would use.
    "no longer unique": (
        "require-concurrent-index-deletion",
        operations.CreateModel(
            "Tag",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("code", models.IntegerField(unique=True)),
            ],
        ),
        operations.AlterField("Tag", "code", models.IntegerField()),
    ),
    # squawk does not know that the type is the same.
    "key without a sequence": (
        "changing-column-type",
        alter("id", models.BigIntegerField(primary_key=True)),
    ),
    "data under a lock": (
        "changing-data-under-lock",
        add("size", models.IntegerField(null=True)),
        operations.RunPython(change_rows),
    ),
    "data under a lock of SQL": (
        "changing-data-under-lock",
        operations.RunSQL("alter table planted_note add size int"),
        operations.RunPython(change_rows),
    ),
    "data in SQL under a lock": (
        "changing-data-under-lock",
        add("size", models.IntegerField(null=True)),
        operations.RunSQL("-- Copy\nWITH one AS (SELECT 1) update planted_note SET size = number"),
    ),
    "data under a lock in one SQL script": (
        "changing-data-under-lock",
        operations.RunSQL(
            "ALTER TABLE planted_note ADD size int; UPDATE planted_note SET size = number"
        ),
    ),
    "invalid SQL": ("syntax-error", operations.RunSQL("ALTER TABEL planted_note")),
    "SQL": ("ban-drop-column", operations.RunSQL("alter table planted_note drop number")),
}
SAFE = {
    "table": [
        operations.CreateModel(
            "Tag",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("note", models.ForeignKey("Note", models.CASCADE)),
                ("name", models.CharField(max_length=9, unique=True)),
                ("size", models.PositiveIntegerField()),
            ],
        ),
        operations.AddField("Tag", "kind", models.CharField(max_length=9, default="")),
    ],
    "optional column": [add("size", models.IntegerField(null=True))],
    "optional column, filled by Django": [add("size", models.IntegerField(null=True, default=1))],
    "column with a constant": [add("size", models.IntegerField(db_default=0))],
    "column with the time": [add("made", models.DateTimeField(db_default=Now()))],
    "optional foreign key": [add("author", foreign_key(null=True, db_index=False))],
    "many to many": [add("authors", models.ManyToManyField("Author"))],
    "longer text": [alter("text", models.CharField(max_length=200))],
    "unlimited text": [alter("text", models.TextField())],
    "more NULL": [alter("text", models.CharField(max_length=100, null=True))],
    "help text": [alter("text", models.CharField(max_length=100, help_text="Say something"))],
    "new name for the same column": [
        alter("text", models.CharField(max_length=100, db_column="text")),
        operations.RenameField("Note", "text", "body"),
    ],
    "check of new rows": [AddConstraintNotValid("Note", POSITIVE)],
    "data": [operations.RunPython(change_rows)],
    "new table with a foreign key, and data": [
        operations.CreateModel(
            "Tag",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("note", models.ForeignKey("Note", models.CASCADE)),
            ],
        ),
        operations.RunPython(change_rows),
        operations.RunSQL("INSERT INTO planted_tag (note_id) SELECT id FROM planted_note"),
    ],
    "trigger that changes data": [
        add("size", models.IntegerField(null=True)),
        operations.RunSQL(
            "CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$\n"
            "BEGIN\n  UPDATE planted_note SET size = 1;\n  RETURN NEW;\nEND\n$$;\n"
            "CREATE TRIGGER copy BEFORE INSERT OR UPDATE ON planted_note\n"
            "FOR EACH ROW EXECUTE FUNCTION copy();"
        ),
    ],
    "extension": [CreateExtension("vector")],
    "unique, with an index that exists": [
        operations.RunSQL(
            "ALTER TABLE planted_note ADD CONSTRAINT one UNIQUE USING INDEX one",
            state_operations=[operations.AddConstraint("Note", UNIQUE)],
        )
    ],
    "state only": [
        operations.SeparateDatabaseAndState(
            state_operations=[operations.RemoveField("Note", "text")]
        )
    ],
}
SAFE_OUTSIDE_A_TRANSACTION = {
    "index": [AddIndexConcurrently("Note", INDEX)],
    "drop an index": [RemoveIndexConcurrently("Note", "old")],
    "unique index": [
        operations.RunSQL("CREATE UNIQUE INDEX CONCURRENTLY one ON planted_note (text)")
    ],
}


@pytest.mark.parametrize(
    ("rule", "changes"), [(one[0], one[1:]) for one in UNSAFE.values()], ids=UNSAFE
)
def test_unsafe_migration_breaks_one_rule(rule: str, changes: list[Operation]) -> None:
    assert rules(*changes) == {rule}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_names_the_problem_and_the_safe_way_in_sentences(rule: Rule) -> None:
    assert rule.problem.endswith(".")
    assert rule.safe_way.endswith(".")


@pytest.mark.parametrize("changes", SAFE.values(), ids=SAFE)
def test_safe_migration_breaks_no_rule(changes: list[Operation]) -> None:
    assert rules(*changes) == set()


@pytest.mark.parametrize(
    "changes", SAFE_OUTSIDE_A_TRANSACTION.values(), ids=SAFE_OUTSIDE_A_TRANSACTION
)
def test_safe_migration_without_transaction_breaks_no_rule(changes: list[Operation]) -> None:
    assert rules(*changes, atomic=False) == set()


def test_operation_on_a_missing_field_raises_djangos_error() -> None:
    with pytest.raises(KeyError, match="missing"):
        rules(operations.RemoveField("Note", "missing"))


def test_constraint_is_validated_in_a_migration_of_its_own() -> None:
    added = AddConstraintNotValid("Note", POSITIVE)
    assert rules(added, ValidateConstraint("Note", "positive")) == {"constraint-missing-not-valid"}


@pytest.fixture
def planted(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a migration that drops a column, in an app of its own."""
    folder = tmp_path / "planted" / "migrations"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    (folder / "0001_table.py").write_text(CREATE_TABLE)
    unsafe = folder / "0002_drop.py"
    unsafe.write_text(DROP_COLUMN)
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "planted"]):
        yield unsafe
    for name in [name for name in sys.modules if name.partition(".")[0] == "planted"]:
        del sys.modules[name]


@pytest.mark.django_db(transaction=True)
def test_migrate_refuses_unsafe_migration_until_a_comment_gives_a_reason(
    planted: Path, settings: Settings
) -> None:
    settings.SILENCED_SYSTEM_CHECKS = ["debug_toolbar.E001"]
    # call_command skips the checks by default; the command line does not.
    migrate = functools.partial(call_command, "migrate", "planted", verbosity=0, skip_checks=False)
    call_command("migrate", "planted", "0001", verbosity=0)
    try:
        for comment in ("", "# allow ban-drop-column:", "# allow renaming-column: it is unused"):
            planted.write_text(f"{comment}\n{DROP_COLUMN}")
            with pytest.raises(
                SystemCheckError, match=r"planted\.0002_drop: \(migrations\.ban-drop-column"
            ):
                migrate()
        assert MigrationRecorder(connection).applied_migrations().keys() >= {
            ("planted", "0001_table")
        }
        planted.write_text(f"# allow ban-drop-column: release 7 stopped reading it\n{DROP_COLUMN}")
        migrate()
    finally:
        call_command("migrate", "planted", "zero", verbosity=0)


@pytest.mark.django_db
@pytest.mark.usefixtures("planted")
def test_migrate_allows_everything_on_a_new_database() -> None:
    MigrationRecorder.Migration.objects.all().delete()
    assert check_unapplied_migrations(databases=["default"]) == []


@pytest.mark.usefixtures("planted")
def test_lint_reports_unsafe_migration(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^1$"):
        call_command("lint_migrations")
    error = capsys.readouterr().err
    assert "The release that still runs reads this column" in error
    assert "# allow ban-drop-column: the reason" in error


def test_lint_reports_model_change_without_migration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("lint_migrations")
    monkeypatch.setattr(User._meta.get_field("name"), "max_length", 201)
    with pytest.raises(SystemExit, match=r"^1$"):
        call_command("lint_migrations")
    assert "accounts: Alter field name on user has no migration" in capsys.readouterr().err


def test_documented_recipe_is_the_one_that_the_stack_tests_deploy() -> None:
    page = (ROOT / "docs/migrations.md").read_text()
    recipe = dict(re.findall(r"^```python\n# (entries/\S+)\n(.*?)^```$", page, re.M | re.S))
    files = {str(file.relative_to(file.parents[2])): file for file in RELEASES.glob("[23]/*/*/0*")}
    assert recipe == {name: file.read_text() for name, file in files.items()}


@pytest.fixture
def entries(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The app of the recipe, with the migrations of its three releases. None is applied yet."""
    for release in sorted(RELEASES.iterdir()):
        shutil.copytree(release, tmp_path, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "entries"]):
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "entries"]:
        del sys.modules[name]
    del apps.all_models["entries"]
    apps.clear_cache()


@pytest.mark.usefixtures("entries")
def test_migrations_of_the_recipe_pass_the_linter() -> None:
    call_command("lint_migrations", "entries")


def run_sql(*statements: str) -> list[tuple[Any, ...]]:
    """Run statements, and return the rows of the last one."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("entries")
def test_both_releases_of_the_recipe_read_every_write() -> None:
    migrate = functools.partial(call_command, "migrate", "entries", verbosity=0)
    migrate("0001")
    try:
        run_sql("INSERT INTO entries_entry (title) VALUES ('a'), ('b'), ('c') RETURNING id")
        migrate("0002")
        # Release 1 saves a row without a change, and changes another, before the backfill.
        before_backfill = run_sql(
            "UPDATE entries_entry SET title = 'a' WHERE title = 'a'",
            "UPDATE entries_entry SET title = 'b2' WHERE title = 'b'",
            "SELECT title, headline FROM entries_entry ORDER BY id",
        )
        assert before_backfill == [("a", "a"), ("b2", "b2"), ("c", "")]
        migrate("0003")
        rows = run_sql(
            "UPDATE entries_entry SET title = 'a1' WHERE title = 'a'",
            "UPDATE entries_entry SET headline = 'b3' WHERE headline = 'b2'",
            "UPDATE entries_entry SET headline = '' WHERE headline = 'c'",
            "INSERT INTO entries_entry (title) VALUES ('old'), ('')",
            "INSERT INTO entries_entry (headline) VALUES ('new'), ('')",
            "SELECT title, headline FROM entries_entry ORDER BY id",
        )
        assert rows == [
            *(("a1", "a1"), ("b3", "b3"), ("", "")),
            *(("old", "old"), ("", ""), ("new", "new"), ("", "")),
        ]
    finally:
        migrate("zero")


def test_check_without_a_database_looks_at_no_migration() -> None:
    assert check_unapplied_migrations() == []


@pytest.mark.django_db(transaction=True)
def test_check_leaves_an_unreachable_database_to_migrate(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = cast(DatabaseWrapper, connection)
    pooled.close()
    pooled.close_pool()
    monkeypatch.setitem(pooled.settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(pooled.settings_dict, "PORT", "1")
    assert check_unapplied_migrations(["default"]) == []
    with pytest.raises(OperationalError):
        pooled.ensure_connection()
    pooled.close_pool()
