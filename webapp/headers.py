"""Response headers and request counters."""

from __future__ import annotations

import time

from flask import Flask, Response, g, request

from webapp.http import bundles
from webapp.services.registry import current_services

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
IMAGES_SECURITY_POLICY = (
    CONTENT_SECURITY_POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'") + "; worker-src 'self'"
)
"""Policy of the viewer and its workers: decoders of compressed images are WebAssembly."""
ALWAYS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Other methods share one label, which bounds the number of counters."""
FOR_EVER = "public, max-age=31536000, immutable"
CACHEABLE = frozenset({"static", "pages.home"})


def install(app: Flask) -> None:
    """Register the headers and counters for every response of this app."""
    bundles.install(app)
    app.before_request(_start)
    app.after_request(_finish)


def _start() -> None:
    g.started = time.perf_counter()


def _finish(response: Response) -> Response:
    if request.endpoint == "studies.viewer" or bundles.is_bundled():
        response.headers.setdefault("Content-Security-Policy", IMAGES_SECURITY_POLICY)
    for name, value in ALWAYS.items():
        response.headers.setdefault(name, value)
    response.headers["Cache-Control"] = _cache_control(response)
    if current_services().options.secure_cookies:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    _count(response)
    return response


def _cache_control(response: Response) -> str:
    """Return ``no-store`` for anything that may show a patient; static files named by content are immutable."""
    if request.endpoint not in CACHEABLE or response.status_code >= 400:
        return "no-store"
    return FOR_EVER if bundles.is_named_by_content() else "no-cache"


def _count(response: Response) -> None:
    metrics = current_services().metrics
    endpoint = request.endpoint or "none"
    method = request.method if request.method in KNOWN_METHODS else "other"
    metrics.requests.labels(endpoint, method, str(response.status_code)).inc()
    metrics.seconds.labels(endpoint).observe(time.perf_counter() - g.get("started", time.perf_counter()))
