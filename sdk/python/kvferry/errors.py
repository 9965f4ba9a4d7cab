"""What calls of this package raise.

One class for each code of the C interface (kvf_status). A class is also a
built-in exception where one means the same, so that `except TimeoutError` or
`except ValueError` catches it, too.
"""


class Error(Exception):
    """A call of KVFerry failed; the text names the value and the limit."""

    # The code's name, as in "NOT_FOUND".
    code: str = "UNKNOWN"


class Cancelled(Error):
    """The call was given up."""

    code = "CANCELLED"


class Unknown(Error):
    """A failure that has no code."""

    code = "UNKNOWN"


class InvalidArgument(Error, ValueError):
    """An argument is wrong whatever the state of things is."""

    code = "INVALID_ARGUMENT"


class DeadlineExceeded(Error, TimeoutError):
    """The timeout passed first."""

    code = "DEADLINE_EXCEEDED"


class NotFound(Error, LookupError):
    """What was asked for is not there."""

    code = "NOT_FOUND"


class AlreadyExists(Error):
    """What was to be made is there."""

    code = "ALREADY_EXISTS"


class PermissionDenied(Error, PermissionError):
    """Not allowed to this user, or to a client attached read-only."""

    code = "PERMISSION_DENIED"


class ResourceExhausted(Error):
    """A limit is reached, or memory is out."""

    code = "RESOURCE_EXHAUSTED"


class FailedPrecondition(Error, RuntimeError):
    """Not in this state: closed, released, another fingerprint, forked."""

    code = "FAILED_PRECONDITION"


class Aborted(Error):
    """Given up meanwhile: discard what was copied, it is a miss."""

    code = "ABORTED"


class OutOfRange(Error, IndexError):
    """A position, slice or index that is not there."""

    code = "OUT_OF_RANGE"


class Unimplemented(Error, NotImplementedError):
    """This library, or the daemon, does not know it."""

    code = "UNIMPLEMENTED"


class Internal(Error):
    """A fault of KVFerry."""

    code = "INTERNAL"


class Unavailable(Error, ConnectionError):
    """The daemon is away; a client attaches again by itself."""

    code = "UNAVAILABLE"


class DataLoss(Error):
    """Shared memory holds what it must not."""

    code = "DATA_LOSS"


class Unauthenticated(Error):
    """The caller could not be identified."""

    code = "UNAUTHENTICATED"


# By the number of kvf_status; what the compiled module raises.
CLASSES: dict[int, type[Error]] = {
    1: Cancelled,
    2: Unknown,
    3: InvalidArgument,
    4: DeadlineExceeded,
    5: NotFound,
    6: AlreadyExists,
    7: PermissionDenied,
    8: ResourceExhausted,
    9: FailedPrecondition,
    10: Aborted,
    11: OutOfRange,
    12: Unimplemented,
    13: Internal,
    14: Unavailable,
    15: DataLoss,
    16: Unauthenticated,
}
