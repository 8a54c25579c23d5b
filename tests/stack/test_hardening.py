"""A container of the ecs target may do no more than a hardened Fargate task may."""

from tests.stack.engine import Container


def test_it_runs_as_a_numeric_user_that_is_not_root(web: Container) -> None:
    assert web.exec("id", "-u").strip() == "10001"
