"""Which namespace of KVFerry a tier's blocks live in.

What a secondary tier moves is a row of the primary tier: the bytes of all
workers for one offloaded chunk, without any structure that KVFerry could read.
So everything that decides what the bytes of a row mean has to be in the
namespace's fingerprint: two engines that differ in any of it cannot meet.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import vllm
from kvferry import GroupSpec
from vllm.distributed.kv_transfer.kv_connector.v1.offloading import (
    canonical_mapping,
)
from vllm.v1.kv_offload.base import OffloadingSpec

# Raised when the meaning of a row changes without anything else here changing.
_FORMAT = "kvferry-vllm-tier-1"

# The daemon's limits (protocol/limits.h), checked here so that a launch fails
# with the option's name in the text.
_ROW_BYTES_MAX = 256 << 20
_NAME_BYTES_MAX = 128
_MODEL_BYTES_MAX = 256
_REVISION_BYTES_MAX = 128

_DIGEST_DIGITS = 32


@dataclass(frozen=True)
class TierSpace:
    """What Client is given at attach. The name is the prefix and the digest
    of `fields`; the digest is in the revision, too, and with it in the
    daemon's own fingerprint."""

    name: str
    model: str
    revision: str
    dtype: str
    group: GroupSpec
    fields: dict[str, Any]


def tier_space(
    spec: OffloadingSpec,
    row_bytes: int,
    *,
    prefix: str,
    revision: str,
) -> TierSpace:
    """The namespace of an engine with this specification.

    `prefix` is the operator's, and separates deployments that must not share;
    `revision` is whatever else changes the KV of a prompt and is not visible
    to a tier: the checkpoint's revision, its quantisation.

    Raises ValueError for a row or a string beyond the daemon's limits.
    """
    if not 0 < row_bytes <= _ROW_BYTES_MAX:
        raise ValueError(
            f"kvferry tier: a chunk of {row_bytes} bytes, must be 1 to "
            f"{_ROW_BYTES_MAX}: lower blocks_per_chunk (block_size)"
        )
    if len(revision.encode()) > _REVISION_BYTES_MAX:
        raise ValueError(
            f"kvferry tier: revision has {len(revision.encode())} bytes, "
            f"the limit is {_REVISION_BYTES_MAX}"
        )
    fields = _fields(spec, row_bytes, revision)
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]
    name = f"{prefix}-{digest}"
    if not prefix or len(name.encode()) > _NAME_BYTES_MAX:
        raise ValueError(
            f"kvferry tier: namespace {prefix!r} must have 1 to "
            f"{_NAME_BYTES_MAX - _DIGEST_DIGITS - 1} bytes"
        )
    return TierSpace(
        name=name,
        model=_shortened(spec.config.model.name),
        revision=f"{revision}+{digest}",
        dtype=spec.config.model.dtype,
        # One token a block: a chunk's tokens are the engine's business, and
        # what is looked up here is one chunk at a time.
        group=GroupSpec(
            "offload",
            block_tokens=1,
            layer_count=1,
            kv_count=1,
            head_count=1,
            head_bytes=row_bytes,
        ),
        fields=fields,
    )


def _fields(
    spec: OffloadingSpec, row_bytes: int, revision: str
) -> dict[str, Any]:
    config = spec.config
    parallel = config.parallel
    sizes = {
        "world_size": parallel.world_size,
        "tp_size": parallel.tp_size,
        "pp_size": parallel.pp_size,
        "pcp_size": parallel.pcp_size,
        "dcp_size": parallel.dcp_size,
        # 0 where a tier runs; a row holds every worker's bytes.
        "rank": parallel.rank,
        "worker_bytes_per_block": config.worker_kv_bytes_per_block,
    }
    canonical_format = None
    if config.canonical_layout:
        assert config.kv_cache_layout is not None
        canonical_format = canonical_mapping.canonical_format_id(
            config.kv_cache_layout
        )
        if parallel.is_parallelism_agnostic:
            # The one case in which a row is the same under every topology by
            # its format. Direct rows are worker after worker and never are.
            sizes = {}
    return {
        "format": _FORMAT,
        # The engine's digests and the layout inside a page follow from code
        # that no field of its configuration names.
        "engine": f"vllm {vllm.__version__}",
        "model": config.model.name,
        "revision": revision,
        "dtype": config.model.dtype,
        "tokens_per_hash": config.cache.tokens_per_hash,
        "blocks_per_chunk": config.cache.blocks_per_chunk,
        "groups": [
            {
                "group_id": group.group_id,
                "tokens_per_block": group.tokens_per_block,
                "layers": list(group.layer_names),
            }
            for group in config.groups
        ],
        "parallel": sizes,
        "row_bytes": row_bytes,
        "kv_cache_layout": config.kv_cache_layout,
        "replicated_layout": spec.replicated_layout,
        "canonical_format": canonical_format,
    }


def _shortened(model: str) -> str:
    """The end of a model's name that is too long (a path), whose whole is in
    the digest."""
    raw = model.encode()
    if len(raw) <= _MODEL_BYTES_MAX:
        return model
    return raw[-_MODEL_BYTES_MAX:].decode(errors="ignore")
