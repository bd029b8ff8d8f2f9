"""The errors of the data sets: corrupt content, a missing split, a failed download."""

from __future__ import annotations


class DataError(ValueError):
    """A data file is there, but its content is not what the format asks for.

    The message is one line that names the file and says what was found. Control characters, of which the names of files
    may be made, are escaped in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(each if each.isprintable() else ascii(each)[1:-1] for each in message))


class MissingSplitError(DataError, FileNotFoundError):
    """A folder holds a part of a data set, but not the split (or the file of a split) that was asked for.

    It is both: the data set is incomplete, and a file is missing. So a caller may catch either.
    """


class DownloadError(FileNotFoundError):
    """A data set is not on this machine and could not be downloaded.

    The message is one line with the URL and the reason. Being a ``FileNotFoundError``, it is caught together with
    "not found and download not allowed".
    """
