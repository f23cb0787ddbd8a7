"""The errors of biasvar, for bad input and for machines that ran out: what was wrong, where, and what helps."""

from __future__ import annotations


class BiasvarError(Exception):
    """Any error of biasvar that a user can act on; the command lines print it as one line and exit with status 2.

    >>> issubclass(StudyError, BiasvarError), issubclass(StudyError, ValueError)
    (True, True)
    """


class StudyError(BiasvarError, ValueError):
    """A study file that does not hold together: names the file, the key, and what is allowed there.

    >>> import biasvar
    >>> try:
    ...     biasvar.run_study({"name": "mine", "arms": {}}, "runs/mine")
    ... except biasvar.errors.StudyError as error:
    ...     print("learning_rate" in str(error))
    True
    """


class RecordError(BiasvarError, ValueError):
    """A run directory, or a file in it, that cannot be written or read as asked.

    >>> import biasvar
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     try:
    ...         biasvar.open_run(folder)
    ...     except biasvar.errors.RecordError as error:
    ...         print("has no manifest.json" in str(error))
    True
    """


class OutOfMemoryError(BiasvarError, MemoryError):
    """The machine or the device has too little memory for a study: says which settings to lower.

    >>> issubclass(OutOfMemoryError, MemoryError)
    True
    """


class DiskFullError(BiasvarError, OSError):
    """A file that a full disk, or a used-up quota, did not take; what was at its place before is untouched.

    >>> issubclass(DiskFullError, OSError)
    True
    """


class ShortageError(BiasvarError, OSError):
    """A machine that had too little of something, or gave no access, while files were read: no file is damaged.

    >>> issubclass(ShortageError, OSError)
    True
    """
