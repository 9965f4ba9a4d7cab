"""Makes the tier known to vLLM by the short name "kvferry".

For an entry point of vLLM's group `vllm.general_plugins`, which every process
of vLLM calls at its start. It imports nothing heavy and is silent on a vLLM
that has no secondary tiers.
"""

TIER_TYPE = "kvferry"

_MODULE = "kvferry.vllm.secondary_tier"
_CLASS = "KVFerryTier"


def register() -> None:
    """Registers the tier; a second call does nothing."""
    try:
        from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory
    except ModuleNotFoundError:
        return
    try:
        SecondaryTierFactory.register_tier(TIER_TYPE, _MODULE, _CLASS)
    except ValueError:
        # There already: the factory says so with this, and has no other way
        # of being asked.
        if not is_registered():
            raise


def is_registered() -> bool:
    """Whether "kvferry" is this package's tier in this process."""
    from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory

    try:
        found = SecondaryTierFactory.get_tier_class({"type": TIER_TYPE})
    except ValueError:
        return False
    return found.__module__ == _MODULE
