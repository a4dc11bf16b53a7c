"""WSGI server (waitress) with limits against slow and silent clients."""

from __future__ import annotations

from typing import Any

from flask import Flask
from waitress import create_server
from waitress.server import BaseWSGIServer

from webapp.http.client_address import ClientAddressMiddleware
from webapp.http.oversized import DrainingChannel
from webapp.options import WebOptions

CONNECTION_LIMIT = 1000
"""Idle sockets cost little; waitress' default of 100 lets idle clients block all others."""
CHANNEL_TIMEOUT_S = 20
"""Silence after which a connection is closed, between requests and within a request's header or body."""
CLEANUP_INTERVAL_S = 5
BODY_IN_MEMORY_BYTES = 2**20


def make_server(app: Flask, host: str, port: int, options: WebOptions) -> Any:
    """Bind and return a waitress server: ``run()`` serves, ``close()`` stops, ``effective_port`` is the port.

    Parameters
    ----------
    port
        0 lets the kernel choose.
    """
    sockets: dict[int, Any] = {}
    server = create_server(
        ClientAddressMiddleware(app, options.trusted_proxies, options.forwarded_header),
        map=sockets,
        host=host,
        port=port,
        threads=options.threads,
        connection_limit=CONNECTION_LIMIT,
        channel_timeout=CHANNEL_TIMEOUT_S,
        cleanup_interval=CLEANUP_INTERVAL_S,
        max_request_body_size=options.max_upload_bytes + 2**16,
        max_request_header_size=32 * 2**10,
        channel_request_lookahead=1,  # lets a stream detect that its client disconnected
        inbuf_overflow=BODY_IN_MEMORY_BYTES,
        asyncore_use_poll=True,
        ident=None,
        expose_tracebacks=False,
        clear_untrusted_proxy_headers=False,  # ClientAddressMiddleware removes them after reading
    )
    for listening in sockets.values():
        if isinstance(listening, BaseWSGIServer):
            listening.channel_class = DrainingChannel
    return server
