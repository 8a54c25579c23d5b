"""The two database roles in containers, and the rotation of their passwords (docs/database.md)."""

from __future__ import annotations

from scripts.stack.engine import Container, Stack, run

SCRIPT = "psql --no-psqlrc -qU postgres -f /docker-entrypoint-initdb.d/10-app.sql"


def initialise(stack: Stack, **urls: str) -> None:
    """Run the script of initdb.d with other URLs."""
    postgres = stack.container("postgres").id
    given = [part for item in urls.items() for part in ("--env", "=".join(item))]
    run("docker", "exec", *given, postgres, "sh", "-c", SCRIPT)


def psql(stack: Stack, *statements: str, database: str = "methodhub") -> str:
    """Run SQL as the superuser."""
    commands = [part for statement in statements for part in ("-c", statement)]
    postgres = stack.container("postgres")
    return postgres.exec("psql", "-qtAU", "postgres", database, *commands).strip()


def environment(container: Container) -> set[str]:
    """Return the names of the variables that a container gets."""
    return {entry.partition("=")[0] for entry in container.inspect()["Config"]["Env"]}


def test_only_migrate_gets_the_owners_url(stack: Stack) -> None:
    for service, expected in (("web", False), ("worker", False), ("migrate", True)):
        assert "DATABASE_URL" in environment(stack.container(service))
        assert ("DATABASE_OWNER_URL" in environment(stack.container(service))) is expected


def test_password_of_web_is_rotated_with_a_second_role(stack: Stack, web: Container) -> None:
    url = "postgres://methodhub_b:rotated@postgres:5432/methodhub"
    initialise(stack, DATABASE_URL=url)
    migrate = stack.start(service="migrate", env={"DATABASE_URL": url})
    try:
        assert run("docker", "wait", migrate.id).stdout.strip() == "0", migrate.logs()
    finally:
        migrate.remove()
    limits = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'methodhub_b'::regrole"
    assert "statement_timeout=3000ms" in psql(stack, limits)

    replica = stack.start(env={"DATABASE_URL": url})
    try:
        replica.wait_ready()
        # Both roles serve during the deployment.
        for each in (replica, web):
            assert each.browser().get("/accounts/login/").status == 200
        assert "owns the tables" not in replica.logs()
    finally:
        replica.remove()

    # Here the new role is dropped; the steps are those for the former one.
    psql(stack, "DROP OWNED BY methodhub_b", database="template1")
    psql(stack, "DROP OWNED BY methodhub_b", "DROP ROLE methodhub_b")
    assert web.browser().get("/readyz").status == 200


def test_password_of_the_owner_is_rotated_without_web(stack: Stack, web: Container) -> None:
    sessions = "SELECT pid FROM pg_stat_activity WHERE usename = 'methodhub' ORDER BY pid LIMIT 1"
    before = psql(stack, sessions)
    url = "postgres://methodhub_owner:rotated@postgres:5432/methodhub"
    initialise(stack, DATABASE_OWNER_URL=url)
    try:
        assert "No migrations to apply" in stack.compose(
            *("run", "--rm", "--no-deps", "--env", f"DATABASE_OWNER_URL={url}", "migrate")
        )
        assert (
            "password authentication failed"
            in run(
                *("docker", "exec", stack.container("postgres").id, "sh", "-c"),
                'psql "$DATABASE_OWNER_URL"',
                check=False,
            ).stderr
        )
        assert web.browser().get("/accounts/login/").status == 200
        assert psql(stack, sessions) == before
    finally:
        initialise(stack)
