"""Another engine, as far as the daemon can see: it has blocks to publish."""

from typing import Any, Self

from harness.site import NAMESPACE, Site
from kvferry import Client, Publication


class Blocks:
    """What a namespace of one group holds, to be published again."""

    def __init__(self, client: Client, keys: bytes, pages: list[bytes]) -> None:
        self._client = client
        self._keys = keys
        self._pages = pages
        self._publication: Publication | None = None

    @classmethod
    def of(cls, site: Site) -> Self:
        """Reads them: they must be one chain."""
        with site.admin() as admin:
            blocks = admin.blocks(NAMESPACE)
        following = {_bytes(b["parent"]): _bytes(b["key"]) for b in blocks}
        keys = [following.pop(bytes(16))]
        while keys[-1] in following:
            keys.append(following.pop(keys[-1]))
        assert not following, "more than one chain"
        client = Client(
            NAMESPACE,
            socket_path=site.daemon.socket_path,
            accept_existing=True,
            create=False,
        )
        with client.match(b"".join(keys)) as prefix:
            pages = [bytes(prefix.page(i)) for i in range(prefix.block_count())]
        assert len(pages) == len(keys)
        return cls(client, b"".join(keys), pages)

    def begin(self) -> Publication:
        """A publication in flight; it ends with the `with` it is used in."""
        publication = self._client.open_publication()
        publication.begin(self._keys)
        return publication

    def write(self, publication: Publication) -> None:
        for position, page in enumerate(self._pages):
            target: Any = publication.page(position)
            assert target is not None, publication.outcome(position)
            memoryview(target)[:] = page
        publication.commit_and_wait(0, len(self._pages))

    def close(self) -> None:
        self._client.close()


def _bytes(key: Any) -> bytes:
    return bytes.fromhex(key) if isinstance(key, str) else bytes(key)
