"""Both runtimes have the same verbs."""

import re

from scripts.stack.project_copy import ROOT

RULE = re.compile(r"^([a-z][a-z-]*):(?!=)", re.MULTILINE)
HELP = re.compile(r"^([a-z][a-z-]*): ## \S", re.MULTILINE)
PHONY = re.compile(r"^\.PHONY: (.*)$", re.MULTILINE)


def verbs_of(runtime: str) -> list[str]:
    return sorted(RULE.findall((ROOT / f"scripts/{runtime}.mk").read_text()))


def test_both_runtimes_have_the_same_verbs_each_once() -> None:
    assert verbs_of("docker") == verbs_of("host")
    assert len(set(verbs_of("host"))) == len(verbs_of("host"))


def test_every_verb_has_a_line_of_help_and_is_phony() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = {verb for line in PHONY.findall(makefile) for verb in line.split()}
    assert sorted(set(HELP.findall(makefile)) - {"help"}) == verbs_of("host")
    assert phony - {"help"} == set(verbs_of("host"))
