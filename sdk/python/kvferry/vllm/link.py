"""One process's attachment to the daemon, and what its faults come to."""

import threading

from vllm.logger import init_logger

from kvferry import Client, Gpu, errors
from kvferry.vllm.config import ConnectorConfig
from kvferry.vllm.spec import NamespaceLayout
from kvferry.vllm.stats import KVFerryStats

# Below vLLM's root logger, so that its handlers show it.
logger = init_logger("vllm.kvferry")

# Wrong on this side and for good: said at the start, by an exception.
_CONFIGURATION_ERRORS = (
    errors.InvalidArgument,
    errors.FailedPrecondition,
    errors.PermissionDenied,
    errors.NotFound,
)
_RETRY_SECONDS = 1.0


class Faults:
    """Counts what goes wrong, and logs the first of each kind.

    The engine is never told of it: what the cache cannot do is a miss or a
    save that is lost.
    Threads  any number
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._seen: set[str] = set()

    def report(self, what: str, error: Exception) -> None:
        kind = f"{what}/{getattr(error, 'code', type(error).__name__)}"
        with self._lock:
            self._count += 1
            first = kind not in self._seen
            self._seen.add(kind)
        if not first:
            return
        if isinstance(error, errors.Error):
            logger.warning(
                "KVFerry: %s: %s (further ones of this kind are counted, not "
                "logged)",
                what,
                error,
            )
        else:
            logger.error("KVFerry: %s failed", what, exc_info=error)

    def count_into(self, stats: KVFerryStats) -> None:
        with self._lock:
            count, self._count = self._count, 0
        if count:
            stats.add("faults", count)


class DaemonLink:
    """Holds a Client once the daemon is there, and its Gpu where there is a
    device.

    Life cycle  1. attach(): now, or else from a thread of its own that tries
                again every second   2. client: None until then; from then on
                the Client attaches again by itself, and its Gpu with it
                3. close()
    Threads     any number
    """

    def __init__(
        self,
        layout: NamespaceLayout,
        config: ConnectorConfig,
        faults: Faults,
        *,
        publish: bool,
        client_name: str,
        residences: str = "host",
        device: str | None = None,
    ) -> None:
        self.device = device  # what a Gpu is opened for; None: nothing is
        self._residences = residences
        self._layout = layout
        self._config = config
        self._faults = faults
        self._publish = publish
        self._client_name = client_name
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.client: Client | None = None
        # None also when it could not be opened, which was logged.
        self.gpu: Gpu | None = None

    def attach(self) -> None:
        """Raises when the namespace can never be entered like this: another
        engine's geometry or dtype, no permission, a malformed name."""
        try:
            self._take(self.open_client(publish=self._publish))
            return
        except _CONFIGURATION_ERRORS:
            raise
        except errors.Error as error:
            self._faults.report("attach", error)
        self._thread = threading.Thread(
            target=self._keep_trying, name="kvferry-attach", daemon=True
        )
        self._thread.start()

    def open_client(self, *, publish: bool) -> Client:
        return Client(
            self._layout.name,
            groups=[part.spec for part in self._layout.parts],
            model=self._layout.model,
            revision=self._layout.revision,
            dtype=self._layout.dtype,
            socket_path=self._config.socket_path,
            publish=publish,
            client_name=self._client_name,
            timeout=self._config.seconds("attach_timeout_ms"),
            wait_for_memory=publish,
            residences=self._residences,
        )

    @property
    def up(self) -> Client | None:
        """The client, while the daemon is there."""
        client = self.client
        return client if client is not None and client.connected else None

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        if self.gpu is not None:
            self.gpu.close()
            self.gpu = None
        if self.client is not None:
            self.client.close()
            self.client = None

    def _keep_trying(self) -> None:
        while not self._closed.wait(_RETRY_SECONDS):
            try:
                client = self.open_client(publish=self._publish)
            except _CONFIGURATION_ERRORS as error:
                self._faults.report("attach, not tried again", error)
                return
            except errors.Error as error:
                self._faults.report("attach", error)
                continue
            logger.info(
                "KVFerry: attached to the namespace %s", self._layout.name
            )
            self._take(client)
            return

    def _take(self, client: Client) -> None:
        if self.device is not None:
            try:
                # Before the client is used: from here on it finds what is in
                # the device's memory.
                self.gpu = Gpu(client, self.device)
            except errors.Error as error:
                logger.warning(
                    "KVFerry: device %s is not used, copies are torch's: %s",
                    self.device,
                    error,
                )
        self.client = client
