"""The errors that biasvar raises for bad input: one line that says what was wrong, where, and what is allowed."""


class BiasvarError(Exception):
    """Any error of biasvar that a user can act on; the command lines print it as one line and exit with status 2."""


class StudyError(BiasvarError, ValueError):
    """A study file that does not hold together: names the file, the key, and what is allowed there."""


class RecordError(BiasvarError, ValueError):
    """A run directory, or a file in it, that cannot be written or read as asked."""
