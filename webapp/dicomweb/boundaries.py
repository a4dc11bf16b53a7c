"""Brings a multipart body into the form that the parser reads: what RFC 2046 5.1.1 allows around parts is left out."""

from __future__ import annotations

_MAX_PADDING = 1024
"""Blanks behind a boundary; a line that is longer is none."""


class PlainBoundaries:
    """Leaves out the preamble, blanks behind boundaries and the epilogue; takes the body in pieces of any size."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # the first boundary may begin the body
        self._is_preamble, self._is_over = True, False

    def feed(self, piece: bytes) -> bytes:
        """Take a piece; gives what is settled of it."""
        if self._is_over:
            return b""
        held, settled = self._held + piece, []
        while not self._is_over and (at := held.find(self._delimiter)) >= 0:
            behind = held[at + len(self._delimiter) :]
            line, end, following = behind.partition(b"\r\n")
            if behind.startswith(b"--"):
                settled.append(self._content(held[:at]) + self._boundary() + b"--\r\n")
                self._is_over, held = True, b""
            elif end and not line.strip(b" \t"):
                settled.append(self._content(held[:at]) + self._boundary())
                self._is_preamble, held = False, b"\r\n" + following
            elif (end or len(behind) > _MAX_PADDING) or line.strip(b" \t-\r"):  # it only begins like a boundary
                cut = at + len(self._delimiter)
                settled.append(self._content(held[:cut]))
                held = held[cut:]
            else:
                self._held = held
                return b"".join(settled)
        safe = max(0, len(held) - len(self._delimiter) - 1) if not self._is_over else 0
        settled.append(self._content(held[:safe]))
        self._held = held[safe:]
        return b"".join(settled)

    def rest(self) -> bytes:
        """What is left of a body that breaks off."""
        return b"" if self._is_over else self._content(self._held)

    def _boundary(self) -> bytes:
        return self._delimiter[2:] if self._is_preamble else self._delimiter

    def _content(self, content: bytes) -> bytes:
        return b"" if self._is_preamble else content
