"""What a user is told when something is wrong that is not this program's mistake."""


class Trouble(Exception):  # noqa: N818 - it is a message, with its remedy, more than an error
    """Printed without a traceback; the verb then exits with status 1."""
