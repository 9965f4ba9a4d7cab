"""KVFerry for Python: an engine's KV blocks in the node's shared memory.

Start with Client. The compiled module says what its calls promise
(help(kvferry._core), or _core.pyi); errors are in kvferry.errors.
"""

from kvferry import errors
from kvferry._core import (
    Admin,
    Client,
    Gpu,
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
    Transfer,
    default_socket_path,
    version,
)
from kvferry.errors import Error
from kvferry.tensors import paged_memory

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
    "Gpu",
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
    "Transfer",
    "default_socket_path",
    "errors",
    "paged_memory",
    "version",
]
