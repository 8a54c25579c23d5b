"""Finds migrations that disturb a running site: they block its queries or break its code.

squawk checks the SQL, which Django generates here without a database.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import sqlparse
from django.core.checks import Error
from django.db import connection, connections
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django.db.migrations import Migration, RunPython
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.db.models import Field, Model
from django.db.models.functions import Now

# PostgreSQL's major version, as in compose.base.yml.
POSTGRES_VERSION = 18


class Rule(NamedTuple):
    """What is wrong with a migration, and the safe way to do the same."""

    problem: str
    safe_way: str


STATE_FIRST = (
    "Remove it from the state only (SeparateDatabaseAndState), deploy that release, and drop it in "
    "the next one, where you allow this finding."
)
# Named after squawk's rules (https://squawkhq.com/docs/rules); the last two are our own. squawk's
# other rules are about style, or forbid what a Django project needs.
RULES = {
    "adding-field-with-default": Rule(
        "PostgreSQL calculates the new column for every row, and blocks the table meanwhile.",
        "Add the column with null=True, and fill it in batches.",
    ),
    "adding-foreign-key-constraint": Rule(
        "Writers of both tables wait while PostgreSQL checks every row.",
        "Add the field with db_constraint=False, then the constraint with RunSQL and NOT VALID, "
        "and VALIDATE CONSTRAINT in the next migration.",
    ),
    "adding-not-nullable-field": Rule(
        "Readers and writers wait while PostgreSQL looks for NULL in every row.",
        "First validate a CheckConstraint for IS NOT NULL (AddConstraintNotValid, then "
        "ValidateConstraint in the next migration), so that PostgreSQL skips the scan, and allow "
        "this finding.",
    ),
    "adding-required-field": Rule(
        "The release that still runs inserts rows without this column, which must not be NULL.",
        "Give the field a db_default, or null=True.",
    ),
    "adding-serial-primary-key-field": Rule(
        "PostgreSQL rewrites the table, and blocks it meanwhile.",
        "Create a new table with this key, and copy the rows in batches.",
    ),
    "ban-concurrent-index-creation-in-transaction": Rule(
        "PostgreSQL refuses CONCURRENTLY inside a transaction.",
        "Set atomic = False in the migration.",
    ),
    "ban-drop-column": Rule("The release that still runs reads this column.", STATE_FIRST),
    "ban-drop-table": Rule("The release that still runs reads this table.", STATE_FIRST),
    "changing-column-type": Rule(
        "PostgreSQL rewrites the table, and blocks it meanwhile.",
        "Add a column of the new type, and move the data as in docs/migrations.md.",
    ),
    "constraint-missing-not-valid": Rule(
        "Readers and writers wait while PostgreSQL checks every row.",
        "Use AddConstraintNotValid, then ValidateConstraint in the next migration.",
    ),
    "disallowed-unique-constraint": Rule(
        "Readers and writers wait while PostgreSQL builds the constraint's index.",
        "Use RunSQL: CREATE UNIQUE INDEX CONCURRENTLY with atomic = False, and ADD CONSTRAINT … "
        "UNIQUE USING INDEX in the next migration, which is a transaction and has a lock timeout.",
    ),
    "renaming-column": Rule(
        "The release that still runs uses the old name.",
        "Keep the column's name with db_column, or move the data as in docs/migrations.md.",
    ),
    "renaming-table": Rule(
        "The release that still runs uses the old name.",
        "Keep the table's name with db_table in the model's Meta.",
    ),
    "require-concurrent-index-creation": Rule(
        "Writers wait while PostgreSQL builds the index.",
        "Use AddIndexConcurrently (for a unique index: RunSQL) with atomic = False.",
    ),
    "require-concurrent-index-deletion": Rule(
        "Readers and writers wait for the lock that drops the index.",
        "Use RemoveIndexConcurrently (or RunSQL) with atomic = False.",
    ),
    "syntax-error": Rule("squawk cannot parse the SQL.", "Correct the SQL."),
    "adding-field-with-check": Rule(
        "Readers and writers wait while PostgreSQL checks every row.",
        "Use a field without a check, such as IntegerField, and add the check with "
        "AddConstraintNotValid, then ValidateConstraint in the next migration.",
    ),
    "changing-data-under-lock": Rule(
        "ALTER TABLE blocks the table until the migration has changed all rows.",
        "Put RunPython, or the RunSQL that changes rows, into a migration of its own.",
    ),
}
# A comment in the migration's file that allows the findings of a rule.
ALLOWED = re.compile(r"^\s*# allow ([\w-]+): \S", re.MULTILINE)
COMMENTS = r"(?:\s+|--[^\n]*+|/\*.*?\*/)*+"
ALTER_TABLE = re.compile(
    COMMENTS + r'ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?:public\.)?"?(\w+)', re.I | re.S
)
CHANGE_OF_ROWS = re.compile(
    COMMENTS + r"(?:WITH\b.*?\b)?(?:INSERT|UPDATE|DELETE|MERGE)\b", re.I | re.S
)
VARCHAR = re.compile(r"varchar(?:\((\d+)\))?$")


class Finding(NamedTuple):
    """A rule's match in a migration, with the SQL if squawk found it."""

    migration: Migration
    rule: str
    sql: str = ""

    def as_check(self) -> Error:
        """Return the finding as an error of Django's check framework."""
        problem, safe_way = RULES[self.rule]
        hint = f"{safe_way} Or add a comment to the migration: # allow {self.rule}: the reason"
        text = f"{problem} {self.sql}".rstrip()
        return Error(text, hint, self.migration, f"migrations.{self.rule}")


class _OfflineConnection(DatabaseWrapper):
    """A connection that never connects, for operations that query the database."""

    pg_version = POSTGRES_VERSION * 10_000

    def cursor(self, *_args: Any) -> Any:
        return contextlib.nullcontext(_EmptyCursor())


class _EmptyCursor:
    """A cursor whose queries find nothing."""

    def execute(self, *_args: Any) -> None: ...

    def fetchone(self) -> None: ...

    def fetchall(self) -> list[Any]:
        return []


class _SQLCollector(DatabaseSchemaEditor):
    """Collects the SQL of a migration for squawk, and finds what the SQL does not show."""

    def __init__(self) -> None:
        super().__init__(_OfflineConnection(connection.settings_dict, NO_DB_ALIAS), True)
        self.rules: list[str] = []
        # Whether a table is locked while other statements run, and whether SQL changes rows.
        self.is_altering = False
        self.changes_rows = False
        self._new_tables: set[str] = set()
        self._exempt: list[str] = []

    def __enter__(self) -> Self:
        self.deferred_sql = []
        return self

    def __exit__(self, *error: object) -> None:
        if not any(error):
            for sql in self.deferred_sql:
                self._collect(sql, None)
                # No operation follows that could change rows while a new table is locked.
                self._note(self.collected_sql[-1], exempt=self._new_tables)

    def execute(self, sql: Any, params: Any = ()) -> None:
        self._collect(sql, params)
        self._note(self.collected_sql[-1], exempt=())

    def _note(self, sql: str, exempt: Collection[str]) -> None:
        for statement in sqlparse.split(sql):
            altered = ALTER_TABLE.match(statement)
            self.is_altering |= altered is not None and altered[1] not in exempt
            self.changes_rows |= CHANGE_OF_ROWS.match(statement) is not None

    def _collect(self, sql: Any, params: Any) -> None:
        if self._exempt:
            self.collected_sql.append(f"-- squawk-ignore {','.join(self._exempt)}")
        # DatabaseSchemaEditor's own method would connect to quote the parameters.
        super(DatabaseSchemaEditor, self).execute(sql, params)

    def create_model(self, model: type[Model]) -> None:
        self._new_tables.add(model._meta.db_table)
        super().create_model(model)

    def add_field(self, model: type[Model], field: Field[Any, Any]) -> None:
        parameters = field.db_parameters(self.connection)
        if parameters["type"] and model._meta.db_table not in self._new_tables:
            if not (field.null or field.has_db_default() or field.generated):
                self.rules.append("adding-required-field")
            if parameters["check"]:
                self.rules.append("adding-field-with-check")
        # PostgreSQL checks no row for a foreign key without a default.
        if field.null and not field.has_db_default() and not field.has_default():
            self._exempt.append("adding-foreign-key-constraint")
        # Its function is STABLE, so PostgreSQL stores one value for all rows.
        if isinstance(field.db_default, Now):
            self._exempt.append("adding-field-with-default")
        super().add_field(model, field)
        self._exempt.clear()

    def _alter_field(
        self, model: Any, old_field: Any, new_field: Any, old_type: str, new_type: str, *rest: Any
    ) -> None:
        if _is_wider(old_type, new_type):
            self._exempt.append("changing-column-type")
        super()._alter_field(  # type: ignore[misc]
            model, old_field, new_field, old_type, new_type, *rest
        )
        self._exempt.clear()

    def _constraint_names(self, *_args: Any, **_options: Any) -> list[str]:
        return ["unknown"]


def _is_wider(old_type: str, new_type: str) -> bool:
    """Return whether PostgreSQL can change the type without reading a row."""
    old, new = VARCHAR.match(old_type), VARCHAR.match(new_type)
    if not old or not (new or new_type == "text"):
        return False
    return not new or not new[1] or (bool(old[1]) and int(old[1]) <= int(new[1]))


def find_unsafe(selected: Collection[tuple[str, str]]) -> list[Finding]:
    """Return the findings in migrations, which are selected by app label and name.

    A comment `# allow RULE: reason` in the migration's file removes a finding.
    """
    loader = MigrationLoader(None)
    graph = loader.graph
    state = ProjectState(real_apps=loader.unmigrated_apps)
    findings: list[Finding] = []
    plan = [key for leaf in graph.leaf_nodes() for key in graph.forwards_plan(leaf)]
    for key in dict.fromkeys(plan):
        migration = graph.nodes[key]
        if key in selected:
            allowed = ALLOWED.findall(_source(migration).read_text())
            findings += [
                one for one in check_migration(migration, state) if one.rule not in allowed
            ]
        else:
            # Rendering every model again for each of its changes would take a second.
            vars(state).pop("apps", None)
            migration.mutate_state(state, preserve=False)
    return findings


def project_migrations() -> set[tuple[str, str]]:
    """Return the migrations of the project's own apps. A package's files cannot be changed."""
    packages = sysconfig.get_path("purelib")
    migrations = MigrationLoader(None).disk_migrations
    return {key for key, one in migrations.items() if not _source(one).is_relative_to(packages)}


def _source(migration: Migration) -> Path:
    return Path(str(sys.modules[migration.__module__].__file__))


def check_migration(migration: Migration, state: ProjectState) -> Iterator[Finding]:
    """Yield the findings in a migration. ``state`` is the one before it, and is changed."""
    collector = _SQLCollector()
    # Django's operations look the connection up by its alias.
    connections[NO_DB_ALIAS] = collector.connection
    try:
        with collector:
            migration.apply(state, collector, collect_sql=True)
    finally:
        del connections[NO_DB_ALIAS]
    rules = collector.rules
    lines = "\n".join(collector.collected_sql).splitlines()
    if migration.atomic:
        lines = ["BEGIN;", *lines, "COMMIT;"]
        has_python = any(isinstance(one, RunPython) for one in migration.operations)
        if collector.is_altering and (has_python or collector.changes_rows):
            rules.append("changing-data-under-lock")
    for rule in dict.fromkeys(rules):
        yield Finding(migration, rule)
    violations = [(line, rule) for line, rule in _squawk(lines) if rule in RULES]
    # squawk reports some statements under this general rule and a more specific one.
    general = "constraint-missing-not-valid"
    specific = {line for line, rule in violations if rule != general}
    for line, rule in violations:
        if rule != general or line not in specific:
            yield Finding(migration, rule, lines[line])


def _squawk(lines: list[str]) -> list[tuple[int, str]]:
    """Return the line, from 0, and the rule of each violation that squawk reports."""
    squawk = Path(sysconfig.get_path("scripts"), "squawk")
    done = subprocess.run(  # noqa: S603 - a program of the virtual environment
        [str(squawk), "--reporter=json", f"--pg-version={POSTGRES_VERSION}"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    return [(one["line"], one["rule_name"]) for one in json.loads(done.stdout)]
