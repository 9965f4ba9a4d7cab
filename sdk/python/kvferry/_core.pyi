"""The compiled part of the package: the C interface of KVFerry's client SDK
(include/kvferry/kvferry.h), as Python objects. `import kvferry` has all of it.

Keys      A buffer of 16 bytes a key, in token order: bytes, a NumPy array of
          any type that is C-contiguous, a memoryview.
Times     Seconds, as float. A timeout of None is for ever, 0 does not wait.
Errors    A failed call raises the class of kvferry.errors for its code; its
          text names the offending value and the limit.
GIL       Given up by every call that can wait, copies bytes, or works on more
          than 512 keys. The SDK's own threads never take it.
Threads   A Client is used by any number of threads, every other object by one
          at a time; but a Gpu and a Transfer are anybody's.
          Another call meanwhile raises FailedPrecondition, whatever it is.
          close() of a Client beside a call of another thread is safe: the call
          ends as it would have.
Lifetime  A page's view, and whatever was made from it by the buffer protocol
          or DLPack, keeps its bytes: pins go back when the object was released
          and its last view is gone. What was made from a Client stays usable
          when that is closed. A Publication's views keep their memory mapped,
          but nobody else from having it: never write to one after the commit,
          abort or end of its block.
Signals   Waits of a Stream and a Transfer end with KeyboardInterrupt within
          100 ms; other calls end with their timeout.
Pickle    Refused (TypeError), also by copy.
Fork      In a forked child every call raises FailedPrecondition; attach anew.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

from typing_extensions import Buffer

class GroupSpec:
    name: str
    block_tokens: int
    layer_count: int
    kv_count: int
    head_count: int
    head_bytes: int
    slice_count: int
    rule: str  # "all_prefix", "trailing", "checkpoint"
    trailing_blocks: int
    def __init__(
        self,
        name: str = "full",
        *,
        block_tokens: int = 16,
        layer_count: int = 1,
        kv_count: int = 2,
        head_count: int = 1,
        head_bytes: int,
        slice_count: int = 1,
        rule: str = "all_prefix",
        trailing_blocks: int = 0,
    ) -> None: ...
    @property
    def page_bytes(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

class NamespaceInfo:
    name: str
    model: str
    revision: str
    dtype: str
    salt: bytes
    epoch: int
    namespace_id: int
    session: int
    block_capacity: int
    quota_bytes: int

class LookupResult:
    answer: str  # "nothing", "hit", "ask_again"
    tokens: int
    coming_tokens: int
    estimate: float | None  # seconds; None: it cannot be told

class TicketContent:
    keys: bytes
    group: int
    tail_tokens: int
    hint: tuple[int, int] | None  # for Client.stream
    hand_over: bytes

class Client:
    def __init__(
        self,
        name: str,
        *,
        groups: Sequence[GroupSpec] = (),
        model: str = "",
        revision: str = "",
        dtype: str = "",
        socket_path: str | None = None,
        accept_existing: bool = False,
        create: bool = True,
        publish: bool = True,
        client_name: str | None = None,
        timeout: float | None = 10.0,
        spin: float = 20e-6,  # seconds; 0: never
        wait_for_memory: bool = True,
        reattach: bool = True,
        # "host": a hit is what every process can read; "any": GPU memory, too,
        # for a process that decides and has others read.
        residences: str = "host",
    ) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    @property
    def connected(self) -> bool: ...
    @property
    def info(self) -> NamespaceInfo: ...
    @property
    def groups(self) -> list[GroupSpec]: ...
    def hasher(self, group: int = 0) -> Hasher: ...
    # Digests packed one behind the other, `stride` bytes apart (default:
    # digest_size), or a list of them. Packed keys.
    def keys_from_digests(
        self,
        digests: Buffer | list[bytes],
        digest_size: int,
        *,
        group: int = 0,
        cryptographic: bool = True,
        stride: int = 0,
    ) -> bytes: ...
    # `into`: a prefix to fill again (what it held is released first); saves an
    # allocation.
    def match(
        self,
        keys: Buffer,
        *,
        group: int = 0,
        tail_tokens: int = 0,
        into: Prefix | None = None,
    ) -> Prefix: ...
    # Each (group, keys) or (group, keys, tail_tokens).
    def match_groups(
        self,
        groups: Sequence[tuple[int, Buffer] | tuple[int, Buffer, int]],
        *,
        into: Prefix | None = None,
    ) -> Prefix: ...
    def lookup(
        self, keys: Buffer, *, group: int = 0, tail_tokens: int = 0
    ) -> LookupResult: ...
    def lookup_groups(
        self, groups: Sequence[tuple[int, Buffer] | tuple[int, Buffer, int]]
    ) -> LookupResult: ...
    def stream(
        self,
        keys: Buffer,
        *,
        group: int = 0,
        tail_tokens: int = 0,
        include_in_flight: bool = True,
        hint: tuple[int, int] | None = None,
    ) -> Stream: ...
    def open_publication(
        self,
        *,
        engine_instance: int = 0,
        publication: int = 0,
        slice_first: int = 0,
        slice_count: int = 0,
        stall_timeout: float = 30.0,
        standby: bool = True,
        # "gpu": in the pool of the client's Gpu, where there is room; else in
        # host memory.
        residence: str = "host",
    ) -> Publication: ...
    # Whole blocks, block_bytes each: one buffer a key, or one buffer with all
    # of them. How many are visible.
    def publish(
        self,
        keys: Buffer,
        blocks: Sequence[Buffer] | Buffer,
        *,
        group: int = 0,
        parent: Buffer | None = None,
        timeout: float | None = 5.0,
    ) -> int: ...
    # As text, for headers and JSON.
    def mint_ticket(
        self,
        keys: Buffer,
        *,
        group: int = 0,
        publication: Publication | None = None,
        consumers: int = 1,
        ttl: float = 60.0,
        tail_tokens: int = 0,
        hand_over: Buffer = b"",
    ) -> str: ...
    def redeem_ticket(self, ticket: str) -> TicketContent: ...
    def release_ticket(self, ticket: str) -> None: ...
    # Drops every block of the namespace, for all its sessions; the new content
    # epoch.
    def clear(self, timeout: float | None = 5.0) -> int: ...

class Hasher:
    def __init__(self, salt: Buffer, group: int, block_tokens: int) -> None: ...
    # Packed keys of the full blocks of `tokens`: a C-contiguous buffer of
    # uint32, int32, uint64 or int64 (torch and NumPy have int64), values in
    # [0, 2^32).
    def hash_blocks(
        self,
        tokens: Buffer,
        *,
        parent: Buffer | None = None,
        extra: Buffer = b"",
    ) -> bytes: ...
    # One key, perhaps of a tail block with fewer tokens.
    def hash_block(
        self,
        tokens: Buffer,
        *,
        parent: Buffer | None = None,
        extra: Buffer = b"",
    ) -> bytes: ...

class Page:
    """One page: bytes, one-dimensional. numpy.asarray(page) and
    torch.from_dlpack(page) are views of it, without a copy. PyTorch knows no
    read-only tensors: to write to one made from a page of a hit is a crash."""

    @property
    def nbytes(self) -> int: ...
    @property
    def readonly(self) -> bool: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    # Raises BufferError for a read-only page when the consumer knows no DLPack
    # 1.0 and wants no copy: it could not be told.
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

class Prefix:
    """The pins of a hit; empty when nothing hit. `with` releases them."""

    @property
    def tokens(self) -> int: ...
    def __bool__(self) -> bool: ...
    def first_block(self, group: int = 0) -> int: ...
    def block_count(self, group: int = 0) -> int: ...
    # "host", "gpu"; "none" for a block that is not pinned.
    def residence(self, position: int, group: int = 0) -> str: ...
    # Raises FailedPrecondition for one that is pinned in a GPU (Gpu.pull).
    def page(self, position: int, slice: int = 0, group: int = 0) -> Page: ...
    # Raises Aborted when what was read so far cannot be trusted.
    def check(self) -> None: ...
    # Copies blocks [first, first + n) into the engine's blocks (a buffer of n
    # int64 or uint64; -1: skipped), then checks.
    def copy_to(
        self,
        paged: PagedMemory,
        engine_blocks: Buffer,
        *,
        group: int = 0,
        first: int = 0,
        last_tokens: int = 0,
    ) -> None: ...
    # Live views of its pages: Page objects (memoryviews and NumPy arrays keep
    # theirs) and DLPack tensors. release() leaves the pins they need to them.
    @property
    def views(self) -> int: ...
    def release(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

class PagedLayer:
    """One layer of a group in an engine's memory. Strides are bytes."""

    base: int  # address
    kv_stride: int
    block_stride: int
    token_stride: int
    head_stride: int
    def __init__(
        self,
        base: int,
        *,
        kv_stride: int = 0,
        block_stride: int,
        token_stride: int,
        head_stride: int = 0,
    ) -> None: ...

class PagedMemory:
    """Where an engine keeps a group's KV. `owner` is kept alive with it.
    kvferry.paged_memory makes one of tensors.

    `on_device`: the addresses are a GPU's. Calls that copy by the processor
    refuse it (FailedPrecondition), those of a Gpu want it."""

    def __init__(
        self,
        group: GroupSpec,
        layers: Sequence[PagedLayer],
        block_count: int,
        *,
        slice_first: int = 0,
        slice_count: int = 0,
        sub_blocks: int = 1,
        owner: object = None,
        on_device: bool = False,
    ) -> None: ...
    @property
    def on_device(self) -> bool: ...
    def gather(
        self, engine_block: int, slice: int, page: Buffer, valid_tokens: int = 0
    ) -> None: ...
    def scatter(
        self, engine_block: int, slice: int, page: Buffer, valid_tokens: int = 0
    ) -> None: ...

class Publication:
    """`with` closes it, or aborts it when an exception leaves the block."""

    # The position of the first.
    def begin(
        self,
        keys: Buffer,
        *,
        group: int = 0,
        parent: Buffer | None = None,
        tail_tokens: int = 0,
        timeout: float | None = 5.0,
    ) -> int: ...
    def __len__(self) -> int: ...
    # "writing", "committed", "exists", "in_flight", "no_space", "void",
    # "standby"
    def outcome(self, position: int) -> str: ...
    # One byte a block, an index into kvferry.OUTCOMES.
    def outcomes(self, first: int, count: int) -> bytes: ...
    # Where a block that is to be written lies: "host", "gpu"; "none" for
    # others.
    def residence(self, position: int) -> str: ...
    # Writable; None when there is nothing to write, or it is in a GPU.
    def page(self, position: int, slice: int = 0) -> Page | None: ...
    # Fills the pages of [first, first + n) that are to be written from the
    # engine's blocks; how many blocks were.
    def fill(
        self,
        first: int,
        paged: PagedMemory,
        engine_blocks: Buffer,
        *,
        last_tokens: int = 0,
    ) -> int: ...
    def commit_layers(self, first: int, count: int, layers: int) -> None: ...
    def commit(self, first: int, count: int) -> None: ...
    def commit_and_wait(
        self, first: int, count: int, timeout: float | None = 5.0
    ) -> None: ...
    def set_hand_over(self, data: Buffer) -> None: ...
    def abort(self) -> None: ...
    def close(self, timeout: float | None = 5.0) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

class Stream:
    """A prompt's blocks while they are being written."""

    @property
    def ok_blocks(self) -> int: ...
    @property
    def ok_tokens(self) -> int: ...
    @property
    def layered_end(self) -> int: ...
    @property
    def ok_layers(self) -> int: ...
    @property
    def block_count(self) -> int: ...
    @property
    def key_count(self) -> int: ...
    @property
    def copied_blocks(self) -> int: ...
    @property
    def copied_layers(self) -> int: ...
    @property
    def done(self) -> bool: ...
    # Raises what keeps the stream from going on; nothing while all is well.
    def check(self) -> None: ...
    def page(self, block: int, slice: int = 0) -> Page | None: ...
    def poll(self) -> bool: ...
    def wait_chunk(self, blocks: int, timeout: float | None) -> None: ...
    def wait_layer(
        self, blocks: int, layers: int, timeout: float | None
    ) -> None: ...
    def wait_committed(self, timeout: float | None) -> None: ...
    def wait_change(self, timeout: float | None) -> None: ...
    def event_fd(self) -> int: ...
    def confirm(self, blocks: int) -> int: ...
    def pull_to(
        self,
        paged: PagedMemory,
        engine_blocks: Buffer,
        *,
        timeout: float | None,
        slice_first: int = 0,
        slice_count: int = 0,
        whole_blocks: bool = False,
    ) -> None: ...
    def hand_over(self) -> bytes: ...
    def release(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

# A queue of GPU work: a cudaStream_t as an integer, an object with
# `cuda_stream` (torch.cuda.Stream) or `__cuda_stream__`, or None for the
# device's default stream. It must live until what is queued is done.
CudaStream: TypeAlias = int | object | None

class Transfer:
    """Blocks on their way from or to a GPU. It ends by itself, also when this
    object is gone; what it copies from and to is kept until then."""

    def done(self) -> bool: ...
    # Raises how it ended badly (Aborted: it was a miss); Unavailable while it
    # is under way.
    def check(self) -> None: ...
    def wait(self, timeout: float | None = None) -> None: ...
    # What `stream` is given from here on begins when the first `layers` layers
    # (0: all) have landed. Does not wait; check() before what was computed from
    # them is used.
    def order_after(
        self, stream: CudaStream = None, layers: int = 0
    ) -> None: ...
    # Positions of a pull that failed, or of a publication that were not to be
    # written. Raises Unavailable while it is under way.
    @property
    def skipped(self) -> list[int]: ...
    @property
    def nbytes(self) -> int: ...

class Gpu:
    """A client's device: blocks into and out of an engine's tensors there.

    A copy begins when what `stream` had been given before the call is done;
    the stream does not wait for it unless Transfer.order_after has it. A
    stream that is being captured for a graph is refused (FailedPrecondition).
    engine_blocks are a buffer of int64 or uint64; -1 is skipped."""

    # `device`: "" the thread's current one, "N" an ordinal, "GPU-..." a UUID,
    # "emulated:N" host memory, for tests. 0 is the default of the numbers.
    def __init__(
        self,
        client: Client,
        device: str = "",
        *,
        side_streams: int = 0,
        register_host_memory: bool = True,
        staging_bytes: int = 0,
    ) -> None: ...
    @property
    def uuid(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def emulated(self) -> bool: ...
    # Whether the namespace has GPU memory that this process has imported.
    @property
    def has_pool(self) -> bool: ...
    # Raises why it has none.
    def check_pool(self) -> None: ...
    # The pins are the transfer's, `prefix` is empty; unless this raises. Raises
    # FailedPrecondition while views of the prefix's pages are alive.
    def pull(
        self,
        prefix: Prefix,
        memory: PagedMemory,
        engine_blocks: Buffer,
        stream: CudaStream = None,
        *,
        group: int = 0,
        first: int = 0,
        last_tokens: int = 0,
        layers_a_piece: int = 0,
    ) -> Transfer: ...
    # Each (group, memory, engine_blocks[, first[, last_tokens]]).
    def pull_groups(
        self,
        prefix: Prefix,
        pulls: Sequence[
            tuple[int, PagedMemory, Buffer]
            | tuple[int, PagedMemory, Buffer, int]
            | tuple[int, PagedMemory, Buffer, int, int]
        ],
        stream: CudaStream = None,
        *,
        layers_a_piece: int = 0,
    ) -> Transfer: ...
    # One engine block a key of the Stream, which is as a released one after.
    def follow(
        self,
        prompt: Stream,
        memory: PagedMemory,
        engine_blocks: Buffer,
        stream: CudaStream = None,
        *,
        last_tokens: int = 0,
        layers_a_piece: int = 0,
    ) -> Transfer: ...
    # Positions [first, first + n). With less than all layers nothing is
    # committed, but told to readers as Publication.commit_layers does.
    # Publication.close waits for it.
    def publish(
        self,
        publication: Publication,
        first: int,
        memory: PagedMemory,
        engine_blocks: Buffer,
        stream: CudaStream = None,
        *,
        last_tokens: int = 0,
        first_layer: int = 0,
        layer_count: int = 0,
        commit: bool = True,
    ) -> Transfer: ...
    # A page's address for the device's own reads or writes; None: it cannot
    # reach it.
    def prefix_page(
        self, prefix: Prefix, position: int, slice: int = 0, group: int = 0
    ) -> int | None: ...
    def publication_page(
        self, publication: Publication, position: int, slice: int = 0
    ) -> int | None: ...
    # Waits until its transfers have ended.
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

class Admin:
    """What an operator asks the daemon (kvferry_admin.h). Structs are dicts
    with the C structs' field names; durations are seconds, and without `_ns`
    (uptime_ns: "uptime"); keys are bytes; a namespace's "groups" are dicts,
    each with its "spec"."""

    def __init__(
        self, socket_path: str | None = None, *, timeout: float | None = 5.0
    ) -> None: ...
    def close(self) -> None: ...
    def status(self) -> dict[str, Any]: ...
    def namespaces(self) -> list[dict[str, Any]]: ...  # each with "groups"
    def sessions(self) -> list[dict[str, Any]]: ...
    def blocks(
        self, namespace: str, prefix_hex: str = "", limit: int = 1000
    ) -> list[dict[str, Any]]: ...
    # Each with "capabilities", "pools" and "imports".
    def gpus(self) -> list[dict[str, Any]]: ...
    def create_namespace(
        self,
        name: str,
        *,
        groups: Sequence[GroupSpec],
        model: str = "",
        revision: str = "",
        dtype: str = "",
        quota_bytes: int,
    ) -> None: ...
    def evict(
        self, namespace: str, prefix_hex: str = "", limit: int = 1000
    ) -> tuple[int, int]: ...  # evicted, pinned
    def clear(self, namespace: str) -> tuple[int, int]: ...  # epoch, blocks
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

# (address, shape, strides in bytes, bytes an item, device) of what has DLPack
# or the buffer protocol.
def _tensor_place(
    tensor: Any,
) -> tuple[int, tuple[int, ...], tuple[int, ...], int, str]: ...
def version() -> str: ...
def default_socket_path() -> str: ...
