"""Errors that the user can fix."""


class UserError(Exception):
    """Its message says what happened and the remedy. It is printed without a traceback."""
