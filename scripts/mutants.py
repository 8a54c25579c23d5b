"""Change src/ in small ways, one at a time, and list the changes that no test notices.

``mutants [PATH…]`` in the dev container: all of src/, or the named files and folders. SAMPLE=20
takes so many mutants of each file, the same ones each time. mutmut makes the mutants; its runner
would lose the mutant in processes that tests start, and skip code outside of plain functions.
"""

from __future__ import annotations

import ast
import collections
import compileall
import contextlib
import difflib
import hashlib
import importlib
import json
import os
import py_compile
import random
import re
import shutil
import signal
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import coverage
import libcst as cst
import psycopg
import pytest
from mutmut.mutation.file_mutation import NEVER_MUTATE_FUNCTION_CALLS, MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode
from psycopg import sql

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".local/mutants"
COPY, RAW, KILLED = HOME / "copy", HOME / "raw", HOME / "killed.json"
SECONDS, DIRTY = HOME / "seconds.json", HOME / "dirty"
# Slow imports that no mutant changes.
PRELOADED = (
    *("django.contrib.admin.options", "django.core.management.commands.migrate", "django.test"),
    *("django.db.backends.postgresql.base", "django.template.defaulttags", "django_ox.backend"),
    *("django_redis.cache", "environs", "factory", "jwcrypto.jwt", "mcp.server.mcpserver"),
    *("oauthlib.openid", "psycopg_pool", "requests", "structlog", "uvicorn.server"),
)
# A test that takes 30 s has noticed the mutant; tests that take 60 s together have not.
LIMITS = ("-o", "faulthandler_timeout=30", "-o", "faulthandler_exit_on_timeout=true")
# Tests that notice changes of a file's lines, though coverage does not know it.
GENERAL = {
    "/admin.py": "tests/accounts/test_admin_pages.py",
    "development/apps.py": "tests/development/test_migration_linter.py"
    " tests/development/test_tools.py",
    "development/supervisor.py": "tests/development/test_tools.py"
    " tests/development/test_runserver.py",
    "src/manage.py": "tests/development/test_runserver.py",
    "home/": "tests/home/test_home.py",
    "/runserver.py": "tests/development/test_runserver.py",
    "development/management/commands/worker.py": "tests/background/test_worker.py",
    "config/settings.py": "tests/serving/test_running_server.py",
    "serving/batched_log_handler.py": "tests/serving/test_batched_log_handler.py",
    "serving/gunicorn_worker.py": "tests/serving/test_gunicorn_worker.py",
    "serving/log_config.py": "tests/serving/test_log_config.py",
    "models.py": "tests/backends/test_backing_services.py::test_no_migration_is_missing",
    "/commands/": "tests/environment/test_repository.py"
    "::test_every_command_of_the_project_and_its_options_have_a_help_text",
}
# It does nothing at run time.
NEVER_MUTATE_FUNCTION_CALLS.add("cast")


class Visitor(MutationVisitor):
    """Also mutates decorated functions, and makes one mutant of a string instead of three."""

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        return not isinstance(node, cst.FunctionDef) and super()._skip_node_and_children(node)

    def _create_mutations(self, node: cst.CSTNode) -> None:
        before = len(self.mutations)
        super()._create_mutations(node)
        if isinstance(node, cst.SimpleString):
            del self.mutations[before + 1 :]


def mutants(source: str) -> Iterator[tuple[str, int, str]]:
    """Yield each mutant's code, its first changed line, and the change."""
    visitor = Visitor(mutation_operators, IgnoredCode(set(), set(), set()))
    module = cst.MetadataWrapper(cst.parse_module(source)).visit(visitor)
    old = source.splitlines()
    for mutation in visitor.mutations:
        mutated = module.deep_replace(mutation.original_node, mutation.mutated_node)
        code = module.code_for_node(mutated)
        diff = list(difflib.unified_diff(old, code.splitlines(), n=0, lineterm=""))
        with contextlib.suppress(SyntaxError):
            ast.parse(code)
            change = [f"{line[0]} {line[1:].strip()}" for line in diff[2:] if line[0] != "@"]
            yield code, int(re.findall(r"\d+", diff[2])[0]), "\n".join(change)


def is_wording(change: str) -> bool:
    """Return whether a mutant only encloses a sentence in XX. Tests look for a part of it."""
    return re.search(r"^\+.*XX[^\"']* [^\"']*XX", change, re.MULTILINE) is not None


def is_equivalent(name: str, change: str, table: list[dict[str, str]]) -> bool:
    """Return whether a mutant is in the table, by its change or by a pattern."""
    return any(
        name.startswith(row["file"])
        and (row["change"] == change if "change" in row else re.search(row["pattern"], change))
        for row in table
    )


class QuickFirst:
    """Makes pytest run the quick tests of each file first, and those that mostly wait at the end.

    ``seconds`` maps a test to how long it took. Tests add to it when they run.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        files = [name.partition("::")[0] for name in config.args]

        def place(item: pytest.Item) -> tuple[bool, int, float]:
            file = files.index(item.nodeid.partition("::")[0])
            waits = item.get_closest_marker("waits") is not None
            return waits, file, self.seconds.get(item.nodeid, 0)

        items.sort(key=place)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration


def drop_test_database() -> None:
    """Drop the database of tests that were ended, which may have left rows and statements.

    pytest's --create-db is not enough: if the tests cannot be imported, it creates no database.
    """
    url = os.environ["DATABASE_OWNER_URL"]
    name = f"test_{urlsplit(url).path[1:]}"
    with psycopg.connect(url, dbname="postgres", autocommit=True) as owner:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        owner.execute(drop.format(sql.Identifier(name)))


def run(*arguments: str, context: str = "", limit: float = 600) -> tuple[int, str]:
    """Run pytest on the copy in a child process; return its status and output.

    With a ``context``, measure coverage under that name, and how long each test takes. After
    ``limit`` seconds, the status is 0: nothing has failed so far.
    """
    if DIRTY.exists():
        drop_test_database()
    DIRTY.touch()
    output = HOME / "output"
    child = os.fork()
    if child == 0:
        os.setsid()
        for descriptor in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.chdir(COPY)
        # pytest compiles each test once. Modules of src/ are valid by their hash, not their time.
        sys.dont_write_bytecode = False
        os.environ["PYTHONPATH"] = f"{COPY}/src"
        sys.path[:] = [str(COPY), *(path for path in sys.path if not path.startswith(str(ROOT)))]
        seconds = {} if context or not SECONDS.exists() else json.loads(SECONDS.read_text())
        if context:
            coverage.Coverage(context=context).start()
        plugin = QuickFirst(seconds)
        status = pytest.main(["-qx", "--reuse-db", "--tb=line", *arguments], plugins=[plugin])
        DIRTY.unlink()
        if context:
            known = json.loads(SECONDS.read_text()) if SECONDS.exists() else {}
            SECONDS.write_text(json.dumps(known | plugin.seconds, indent=1))
        sys.stdout.flush()
        os._exit(status)
    end = time.monotonic() + limit
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if done == (0, 0):
        os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(done[1]), output.read_text(errors="replace")


def measure() -> coverage.CoverageData:
    """Return which tests run which lines. Unchanged test files are not measured again."""
    config = COPY / "pyproject.toml"
    settings = f'data_file = "{RAW}/data"\ndynamic_context = "test_function"'
    config.write_text(re.sub(r"data_file = .*", settings, config.read_text()))
    paths = [path for part in ("src", "tests") for path in sorted((ROOT / part).rglob("*.py"))]
    common = b"".join(path.read_bytes() for path in paths if not path.name.startswith("test_"))
    (HOME / "coverage").mkdir(exist_ok=True)
    measured = coverage.CoverageData(no_disk=True)
    for path in paths:
        name = str(path.relative_to(ROOT))
        if not re.match(
            r"tests/(?!bench|doctor|host|parity|stack|test_gates|test_mutants).*test_[^/]*$", name
        ):
            continue
        digest = hashlib.sha256(common + path.read_bytes()).hexdigest()[:16]
        data = HOME / "coverage" / f"{path.stem}-{digest}"
        if not data.exists():
            shutil.rmtree(RAW, ignore_errors=True)
            RAW.mkdir()
            status, output = run(name, context=name)
            if status:
                print(f"Left out, because it fails without any mutant:\n{output}", flush=True)
                continue
            combined = coverage.Coverage(data_file=str(data), config_file=False)
            combined.combine([str(file) for file in RAW.iterdir()], strict=True)
            combined.save()
        one = coverage.CoverageData(str(data))
        one.read()
        measured.update(one)
    return measured


def tests_of(name: str) -> str:
    """Return the folder of the tests of a file's package."""
    return f"tests/{name.split('/')[1]}/"


def covering(data: coverage.CoverageData, name: str, source: str) -> list[list[str]]:
    """Return the tests for each line of a file, those of the quickest file first.

    A line outside of functions belongs to the tests that run any function of the file, or to those
    of the package if no test runs one.
    """
    measured = next((path for path in data.measured_files() if path.endswith(name)), "")
    by_line = data.contexts_by_lineno(measured)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    inside = {n for node in functions for n in range(node.body[0].lineno, node.end_lineno + 1)}  # type: ignore[operator]
    outside = {one for n in inside or by_line for one in by_line.get(n, ())}
    outside = outside or {
        str(path.relative_to(ROOT)) for path in (ROOT / tests_of(name)).glob("test_*.py")
    }
    cost: collections.Counter[str] = collections.Counter()
    for test, seconds in json.loads(SECONDS.read_text()).items():
        cost[test.partition("::")[0]] += seconds

    def order(test: str) -> tuple[float, str]:
        return cost[test.partition("::")[0]], test

    tests: list[list[str]] = []
    contexts: set[str] = set()
    for line in range(source.count("\n") + 2):
        # Of a statement on several lines, coverage may know the first only.
        contexts = set(by_line.get(line, contexts)) if line in inside else outside
        split = [context.partition("|") for context in contexts]
        single = {
            "::".join([file, *test.split(".")[1:]])
            for file, _, test in split
            if test.startswith(f"{Path(file).stem}.")
        }
        whole = {file for file, _, _ in split} - {test.partition("::")[0] for test in single}
        tests.append(sorted(single | whole, key=order))
    return tests


def main(*names: str) -> int:
    """Print the mutants that no test notices, and scores; return 1 if one is not listed."""
    names = names or ("src/",)
    sources = {str(path.relative_to(ROOT)): path for path in sorted((ROOT / "src").rglob("*.py"))}
    chosen = [name for name in sources if name.startswith(names) and "/migrations/" not in name]
    if not chosen:
        return 0
    for module in PRELOADED:
        importlib.import_module(module)
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(ROOT, COPY, ignore=shutil.ignore_patterns(".local", ".git", ".env"))
    by_hash = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(COPY / "src", quiet=1, invalidation_mode=by_hash)
    # The last run may have been stopped in a test.
    DIRTY.touch()
    data = measure()
    table = tomllib.loads((ROOT / "scripts/mutants.toml").read_text())["equivalent"]
    # Noticed mutants, which are not run again until their file changes.
    killed: dict[str, str] = json.loads(KILLED.read_text()) if KILLED.exists() else {}
    unnoticed = 0
    for name in chosen:
        source = sources[name].read_text()
        tests = covering(data, name, source)
        made = list(mutants(source))
        if sample := os.environ.get("SAMPLE"):
            made = random.Random(name).sample(made, min(int(sample), len(made)))  # noqa: S311
        tried = [
            mutant
            for mutant in made
            if not is_equivalent(name, mutant[2], table) and not is_wording(mutant[2])
        ]
        noticed = 0
        for code, line, change in tried:
            key = hashlib.sha256((name + code).encode()).hexdigest()
            own = [test for test in tests[line] if test.startswith(tests_of(name))]
            others = [test for test in tests[line] if not test.startswith(tests_of(name))]
            general = [
                test for part, named in GENERAL.items() if part in name for test in named.split()
            ]
            for group in filter(None, (general, own, others)):
                if key in killed:
                    break
                (COPY / name).write_text(code)
                status, output = run(*LIMITS, *group, limit=60)
                if status:
                    found = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
                    killed[key] = found[0] if found else "ended"
                    KILLED.write_text(json.dumps(killed, indent=1))
            noticed += key in killed
            if key not in killed:
                print(f"\n{name}:{line}, {len(tests[line])} tests\n{change}", flush=True)
        (COPY / name).write_text(source)
        unnoticed += len(tried) - noticed
        if tried:
            print(
                f"{name}: {noticed} of {len(tried)} ({noticed / len(tried):.0%}) noticed, "
                f"{len(made) - len(tried)} equivalent",
                flush=True,
            )
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
