"""Errors of items of the inbox."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError
from claraedge.errors.calls import InvalidRequestError


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


class TriggerNotFoundError(ClaraedgeError):
    """No trigger accepts files from this folder.

    To do: use a folder that `Inbox.ListTriggers` returns, or add a trigger to the configuration.
    """

    name = "trigger-not-found"
    code = -0x5023
    status = "NOT_FOUND"


class DropNotFoundError(ClaraedgeError):
    """No drop has this id: it was cancelled, or had no activity for a day.

    To do: start a new drop, and send its files again.
    """

    name = "drop-not-found"
    code = -0x5024
    status = "NOT_FOUND"


class DropStateError(ClaraedgeError):
    """The drop is finished already, or cannot be finished yet: a file is not whole, or it has none.

    To do: continue or cancel the uploads that are not finished; start a new drop for more files.
    """

    name = "drop-state"
    code = -0x5025
    status = "FAILED_PRECONDITION"
    http_status = 409


class NameTakenError(ClaraedgeError):
    """The drop, or its folder, has a file or folder of this name, which is never replaced.

    To do: wait until the inbox has taken it, move it to another place, or send the file under
    another name.
    """

    name = "name-taken"
    code = -0x5026
    status = "ALREADY_EXISTS"


class FileNotTakenError(InvalidRequestError):
    """The trigger would never take a file of this name, or wait for it for ever.

    To do: rename the file as the message says, leave it out, or choose another folder.
    """

    name = "file-not-taken"
    code = -0x5027


class FolderClosedError(ClaraedgeError):
    """The folder of the trigger cannot be written now: it is missing, read-only, or not answering.

    To do: do what the message says, then try again; files that arrived are kept for a day.
    """

    name = "folder-closed"
    code = -0x5028
    status = "FAILED_PRECONDITION"
    http_status = 409


class ItemNotRemovedError(ClaraedgeError):
    """The item cannot be removed: it did not fail, or the disk of its failure is not available.

    To do: do what the message says; a file that waits lies in the inbox, a job can be cancelled.
    """

    name = "item-not-removed"
    code = -0x5029
    status = "FAILED_PRECONDITION"
    http_status = 409


class RemovalPendingError(ClaraedgeError):
    """The removal has begun, and is not finished: its disk is slow, or a part cannot be removed.

    To do: do what the message says; the removal continues by itself, also after a restart.
    """

    name = "removal-pending"
    code = -0x502A
    status = "UNAVAILABLE"
