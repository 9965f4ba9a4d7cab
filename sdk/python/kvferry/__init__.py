"""KVFerry for Python: an engine's KV blocks in the node's shared memory.

Start with Client. The compiled module says what its calls promise
(help(kvferry._core), or _core.pyi); errors are in kvferry.errors.
"""

from kvferry import errors
from kvferry._core import (
    Admin,
    Client,
    GroupSpec,
    Hasher,
    LookupResult,
    NamespaceInfo,
    Page,
    PagedLayer,
    PagedMemory,
    Prefix,
    Publication,
    Stream,
    TicketContent,
    default_socket_path,
    version,
)
from kvferry.errors import Error

# What Publication.outcomes() holds, by its bytes.
OUTCOMES = (
    "writing",
    "committed",
    "exists",
    "in_flight",
    "no_space",
    "void",
    "standby",
)

__version__ = version()

__all__ = [
    "OUTCOMES",
    "Admin",
    "Client",
    "Error",
    "GroupSpec",
    "Hasher",
    "LookupResult",
    "NamespaceInfo",
    "Page",
    "PagedLayer",
    "PagedMemory",
    "Prefix",
    "Publication",
    "Stream",
    "TicketContent",
    "default_socket_path",
    "errors",
    "version",
]
