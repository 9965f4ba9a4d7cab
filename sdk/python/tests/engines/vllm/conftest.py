"""Fixtures of the tests with vLLM's own scheduler and cache manager."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import harness.environment  # noqa: E402, F401

if TYPE_CHECKING:
    from harness.references import References
    from harness.site import Site


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore::FutureWarning:vllm.*")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the models' directories are: one place, as the path is part of
    what a namespace is."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def references(models: Path) -> "Iterator[References]":
    from harness.references import References

    made = References(models)
    yield made
    made.close()


@pytest.fixture
def site_device() -> str | None:
    """Tests of GPU memory override it; with KVFERRY_TEST_ENGINE_DEVICE all
    others have that device, too."""
    return os.environ.get("KVFERRY_TEST_ENGINE_DEVICE") or None


@pytest.fixture
def site(
    daemon_directory: Path,
    models: Path,
    references: "References",
    site_device: str | None,
) -> "Iterator[Site]":
    """A daemon and engines; when the test is over, every pin and every page
    must be back."""
    from harness.site import Site
    from support.daemon import Daemon

    # Little memory, quickly populated; for up to four namespaces.
    config = '[template]\nquota = "32 MiB"\n'
    if site_device is not None:
        config += (
            f'[gpu]\ndevices = ["{site_device}"]\npool_size = "32 MiB"\n'
            'namespace_quota = "8 MiB"\n'
        )
    with Daemon(
        daemon_directory, pool="128 MiB", extra_config=config
    ) as daemon:
        made = Site(daemon, models, references, site_device)
        yield made
        made.close()
