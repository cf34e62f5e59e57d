"""Our SPIFFE bundle endpoint (SPIFFE Federation, section 5): our bundle document for whoever asks for it.

With `https_spiffe` it shows the SVID of our gateways, and readers check it by the bundle that they have; with
`https_web` a web server's certificate. No client is asked for a certificate.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from datetime import datetime

import trio

from gateway.config import BundleEndpointConfig
from gateway.control import ListenerSpec
from gateway.transport.listeners import Listeners
from gateway.trust_keeping.ca_renewal import file_fingerprint
from gateway.trust_keeping.https_server import DocumentServer
from trust.bundle import Bundle, encode_bundle
from trust.errors import TrustError
from trust.svid import X509Svid
from trust.web_contexts import file_server_context, svid_server_context

log = logging.getLogger("isthmus.bundle_endpoint")

NAME = "bundle"


class BundleEndpoint:
    """`bundle` and `svid` give what is true now."""

    def __init__(
        self,
        section: BundleEndpointConfig,
        *,
        bundle: Callable[[], Bundle],
        svid: Callable[[datetime], X509Svid],
        clock: Callable[[], datetime],
    ) -> None:
        self.problem = ""
        """Why the changed files of its certificate were not taken; the one before stays."""
        self.address = ""
        """Where it really listens."""
        self._section = section
        self._bundle = bundle
        self._svid = svid
        self._clock = clock
        self._shown: X509Svid | tuple[int, ...] | None = None
        self._context: ssl.SSLContext

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; started once it listens. Raises ListenError, and TrustError for unusable files."""
        self._make_context()
        # Not among the controller's own listeners: those are given to the workers.
        listeners = Listeners()
        sock = listeners.open(ListenerSpec(NAME, NAME, str(self._section.listen)))
        self.address = listeners.address(NAME)
        task_status.started()
        await DocumentServer(lambda: encode_bundle(self._bundle()), self._fresh_context).serve(sock)

    def _fresh_context(self) -> ssl.SSLContext:
        try:
            self._make_context()
            self.problem = ""
        except TrustError as error:
            self.problem = f"the bundle endpoint goes on with the certificate that it has: {error}"
            log.error("%s", self.problem)
        return self._context

    def _make_context(self) -> None:
        """The context of the certificate that is to be shown now, made anew when that is another one."""
        cert_file, key_file = self._section.cert_file, self._section.key_file
        if cert_file is not None and key_file is not None:
            shown = (*file_fingerprint(cert_file), *file_fingerprint(key_file))
            if shown != self._shown:
                self._context = file_server_context(cert_file, key_file)
                self._shown = shown
            return
        svid = self._svid(self._clock())
        if svid is not self._shown:
            self._context = svid_server_context(svid)
            self._shown = svid
