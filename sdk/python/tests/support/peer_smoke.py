"""A small program against a daemon, for whatever interpreter runs it; needs
nothing but the package.

usage: peer_smoke.py SOCKET
"""

import sys
from array import array

import kvferry


def main(socket_path: str) -> None:
    group = kvferry.GroupSpec(kv_count=1, head_bytes=256)
    with kvferry.Client(
        "smoke", groups=[group], socket_path=socket_path
    ) as client:
        tokens = array("I", range(16 * 5))
        keys = client.hasher().hash_blocks(tokens)
        blocks = [bytes([n + 1]) * group.block_bytes for n in range(5)]
        assert client.publish(keys[: 16 * 4], blocks[:4]) == 4

        with client.open_publication() as publication:
            publication.begin(keys[16 * 4 :], parent=keys[16 * 3 : 16 * 4])
            with memoryview(publication.page(0)) as page:
                page[:] = blocks[4]
            publication.commit_and_wait(0, 1)

        with client.match(keys) as prefix:
            assert prefix.tokens == 16 * 5, prefix.tokens
            for position, block in enumerate(blocks):
                assert bytes(prefix.page(position)) == block
            prefix.check()
            try:
                prefix.page(5)
            except IndexError as error:
                assert isinstance(error, kvferry.errors.OutOfRange)
                assert "5" in str(error)
            else:
                raise AssertionError("a page beyond the hit")

        ticket = client.mint_ticket(keys)
        assert client.redeem_ticket(ticket).keys == keys
    print(
        f"kvferry {kvferry.version()} on Python "
        f"{sys.version_info.major}.{sys.version_info.minor}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
