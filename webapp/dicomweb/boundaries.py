"""Normalization of multipart bodies for the parser: removes what RFC 2046 5.1.1 allows around parts."""

from __future__ import annotations

_MAX_PADDING = 1024
"""Most padding after a boundary; a longer line is no boundary."""


class PlainBoundaries:
    """Filter that removes preamble, boundary padding and epilogue from a body fed in chunks of any size."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # the first boundary may begin the body
        self._is_preamble, self._is_over = True, False

    def feed(self, piece: bytes) -> bytes:
        """Take a chunk; return the bytes that are final."""
        if self._is_over:
            return b""
        buffer, final = self._held + piece, []
        while not self._is_over and (index := buffer.find(self._delimiter)) >= 0:
            remainder = buffer[index + len(self._delimiter) :]
            line, end, following = remainder.partition(b"\r\n")
            if remainder.startswith(b"--"):
                final.append(self._content(buffer[:index]) + self._boundary() + b"--\r\n")
                self._is_over, buffer = True, b""
            elif end and not line.strip(b" \t"):
                final.append(self._content(buffer[:index]) + self._boundary())
                self._is_preamble, buffer = False, b"\r\n" + following
            elif (end or len(remainder) > _MAX_PADDING) or line.strip(b" \t-\r"):  # not a boundary after all
                cut = index + len(self._delimiter)
                final.append(self._content(buffer[:cut]))
                buffer = buffer[cut:]
            else:
                self._held = buffer
                return b"".join(final)
        safe = max(0, len(buffer) - len(self._delimiter) - 1) if not self._is_over else 0
        final.append(self._content(buffer[:safe]))
        self._held = buffer[safe:]
        return b"".join(final)

    def rest(self) -> bytes:
        """Return the remaining bytes of a truncated body."""
        return b"" if self._is_over else self._content(self._held)

    def _boundary(self) -> bytes:
        return self._delimiter[2:] if self._is_preamble else self._delimiter

    def _content(self, content: bytes) -> bytes:
        return b"" if self._is_preamble else content
