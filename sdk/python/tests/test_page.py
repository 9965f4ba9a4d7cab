"""Pages without a copy, and how long their bytes stay."""

import ctypes
import gc
from collections.abc import Callable

import kvferry
import numpy as np
import pytest
from support.blocks import Bytes, address, random_blocks
from support.daemon import Daemon

KEY = b"k" * 16


@pytest.fixture
def block(client: kvferry.Client) -> Bytes:
    """The block that was published under KEY."""
    blocks = random_blocks(1, client.groups[0])
    client.publish(KEY, blocks)
    return blocks[0]


def pinned_blocks(daemon: Daemon) -> int:
    (session,) = kvferry.Admin(daemon.socket_path).sessions()
    count: int = session["pinned_blocks"]
    return count


def test_a_page_is_one_vector_of_bytes(
    client: kvferry.Client, block: Bytes
) -> None:
    page = client.match(KEY).page(0)
    assert (len(page), page.nbytes, page.readonly) == (4096, 4096, True)
    view = memoryview(page)
    assert (view.format, view.itemsize, view.ndim, view.shape) == (
        "B", 1, 1, (4096,),
    )  # fmt: skip
    assert view.readonly
    assert view.c_contiguous
    assert bytes(view) == bytes(page) == block.tobytes()
    assert page.__dlpack_device__() == (1, 0)
    assert "4096 bytes, read-only" in repr(page)


# Goal    Every way to look at a page sees the same memory.
def test_views_are_no_copies(client: kvferry.Client, block: Bytes) -> None:
    prefix = client.match(KEY)
    page = prefix.page(0)
    array = np.asarray(page)
    assert address(array) == address(np.asarray(prefix.page(0)))
    assert address(array) == address(np.from_dlpack(page))
    assert address(array) == address(np.frombuffer(page, dtype=np.uint8))
    assert address(array) == address(np.asarray(memoryview(page)))
    assert np.array_equal(array, block)
    assert address(np.asarray(client.match(KEY).page(0))) == address(array)


def test_pages_of_a_hit_are_read_only(
    client: kvferry.Client, block: Bytes
) -> None:
    page = client.match(KEY).page(0)
    array = np.asarray(page)
    assert not array.flags.writeable
    assert not np.from_dlpack(page).flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(TypeError):
        memoryview(page)[0] = 1
    with pytest.raises(TypeError, match="not writable"):
        # Asks for a writable buffer.
        (ctypes.c_char * 16).from_buffer(page)  # type: ignore[arg-type]
    assert bytes(page) == block.tobytes()


def test_pages_of_a_publication_are_writable(client: kvferry.Client) -> None:
    with client.open_publication() as publication:
        publication.begin(KEY)
        page = publication.page(0)
        assert page is not None
        assert not page.readonly
        memoryview(page)[:16] = bytes(range(16))
        np.asarray(page)[16:4000] = 1
        np.from_dlpack(page)[4000:] = 2
        publication.commit_and_wait(0, 1)
    expected = bytes(range(16)) + b"\1" * 3984 + b"\2" * 96
    assert bytes(client.match(KEY).page(0)) == expected


VIEWS: dict[str, Callable[[kvferry.Page], object]] = {
    "page": lambda page: page,
    "memoryview": memoryview,
    "slice": lambda page: memoryview(page)[100:200],
    "numpy": np.asarray,
    "numpy slice": lambda page: np.asarray(page)[5:].reshape(-1, 1),
    "dlpack": np.from_dlpack,
    "capsule": lambda page: page.__dlpack__(max_version=(1, 0)),
}


# Goal    Pins go back when the prefix was released and its last view is gone,
#         in either order.
@pytest.mark.parametrize("kind", VIEWS)
def test_release_waits_for_views(
    daemon: Daemon, client: kvferry.Client, block: Bytes, kind: str
) -> None:
    prefix = client.match(KEY)
    view = VIEWS[kind](prefix.page(0))
    gc.collect()
    assert (pinned_blocks(daemon), prefix.views) == (1, 1)

    prefix.release()
    assert not prefix
    assert (pinned_blocks(daemon), prefix.views) == (1, 1)
    if isinstance(view, memoryview) and kind == "memoryview":
        assert bytes(view) == block.tobytes()

    del view
    gc.collect()
    assert (pinned_blocks(daemon), prefix.views) == (0, 0)


@pytest.mark.parametrize("kind", VIEWS)
def test_views_outlive_the_prefix(
    daemon: Daemon, client: kvferry.Client, block: Bytes, kind: str
) -> None:
    view = VIEWS[kind](client.match(KEY).page(0))
    gc.collect()
    assert pinned_blocks(daemon) == 1
    if kind == "numpy":
        assert np.array_equal(view, block)  # type: ignore[arg-type]
    del view
    gc.collect()
    assert pinned_blocks(daemon) == 0


def test_views_outlive_the_client(
    client: kvferry.Client, block: Bytes
) -> None:
    view = np.asarray(client.match(KEY).page(0))
    client.close()
    gc.collect()
    assert np.array_equal(view, block)


def test_released_without_views_gives_back_at_once(
    daemon: Daemon, client: kvferry.Client, block: Bytes
) -> None:
    prefix = client.match(KEY)
    page = prefix.page(0)
    del page
    assert (prefix.views, pinned_blocks(daemon)) == (0, 1)
    prefix.release()
    prefix.release()
    assert pinned_blocks(daemon) == 0


def test_with_releases(
    daemon: Daemon, client: kvferry.Client, block: Bytes
) -> None:
    with client.match(KEY) as prefix:
        assert pinned_blocks(daemon) == 1
    assert (pinned_blocks(daemon), prefix.tokens) == (0, 0)
    with pytest.raises(ZeroDivisionError), client.match(KEY):
        raise ZeroDivisionError
    assert pinned_blocks(daemon) == 0


# Goal    A block is not taken away from under a view whose prefix is gone.
def test_evict_leaves_what_a_view_reads(
    daemon: Daemon, client: kvferry.Client, block: Bytes
) -> None:
    view = np.asarray(client.match(KEY).page(0))
    admin = kvferry.Admin(daemon.socket_path)
    assert admin.evict("test") == (0, 1)
    assert np.array_equal(view, block)
    del view
    assert admin.evict("test") == (1, 0)


class TestDlpack:
    def capsule_name(self, capsule: object) -> str:
        return repr(capsule).split('"')[1]

    def test_versions(self, client: kvferry.Client, block: Bytes) -> None:
        page = client.match(KEY).page(0)
        for version in ((1, 0), (1, 3), (2, 0)):
            capsule = page.__dlpack__(max_version=version)
            assert self.capsule_name(capsule) == "dltensor_versioned"
        # A consumer of old could not be told that it must not write.
        for version in (None, (0, 8)):
            with pytest.raises(BufferError, match="read-only"):
                page.__dlpack__(max_version=version)
        copied = page.__dlpack__(copy=True)
        assert self.capsule_name(copied) == "dltensor"

    def test_writable_pages_suit_old_consumers(
        self, client: kvferry.Client
    ) -> None:
        with client.open_publication() as publication:
            publication.begin(KEY)
            page = publication.page(0)
            assert page is not None
            assert self.capsule_name(page.__dlpack__()) == "dltensor"
            publication.abort()

    def test_copy(self, client: kvferry.Client, block: Bytes) -> None:
        prefix = client.match(KEY)
        page = prefix.page(0)
        copied = np.from_dlpack(page, copy=True)
        assert address(copied) != address(np.asarray(page))
        assert copied.flags.writeable
        copied[0] ^= 0xFF
        assert bytes(page) == block.tobytes()
        shared = np.from_dlpack(page, copy=False)
        assert address(shared) == address(np.asarray(page))

    def test_devices(self, client: kvferry.Client, block: Bytes) -> None:
        page = client.match(KEY).page(0)
        page.__dlpack__(max_version=(1, 0), dl_device=(1, 0))
        for device in ((2, 0), (1, 1)):
            with pytest.raises(BufferError, match="host memory"):
                page.__dlpack__(max_version=(1, 0), dl_device=device)

    def test_streams(self, client: kvferry.Client, block: Bytes) -> None:
        page = client.match(KEY).page(0)
        page.__dlpack__(max_version=(1, 0), stream=-1)
        for stream in (1, 2, 12345):
            with pytest.raises(ValueError, match="stream"):
                page.__dlpack__(max_version=(1, 0), stream=stream)

    def test_keyword_only(self, client: kvferry.Client, block: Bytes) -> None:
        page = client.match(KEY).page(0)
        with pytest.raises(TypeError):
            page.__dlpack__(None, (1, 0))  # type: ignore[misc]
