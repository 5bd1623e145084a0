"""Errors of items of the inbox."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError


class ItemNotFoundError(ClaraedgeError):
    """No item of the drop folder has this id.

    To do: find the id with `claraedge list inbox`; an item is removed with the record of its job.
    """

    name = "item-not-found"
    code = -0x5020
    status = "NOT_FOUND"


class ItemRetryError(ClaraedgeError):
    """The item cannot be tried again: it neither failed nor waits, or its original is missing.

    To do: do what the message says, or drop the file again, which always works.
    """

    name = "item-not-retried"
    code = -0x5021
    status = "FAILED_PRECONDITION"


class AdoptionError(ClaraedgeError):
    """Dropped files cannot be given to the user of claraedge: they changed, or they may belong to
    someone other than the user who dropped them.

    To do: do what the message says, or drop copies that the group can read, which always works.
    """

    name = "not-adopted"
    code = -0x5022
    status = "FAILED_PRECONDITION"
