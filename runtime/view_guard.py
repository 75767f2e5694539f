"""Who may see the view: checks of the Host and Origin headers and of the token."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

#: for the liveness probes of supervisors; tells nothing but one word
OPEN_PATHS = frozenset({"/healthz"})


class ViewGuard:
    """Decides about requests by their headers.

    Foreign pages reach a server on this machine through the user's browser: by its address, which the
    Origin header tells, or under their own name (DNS rebinding), which the Host header tells. Names are
    therefore a closed list; addresses are always fine, no foreign page has one as its own origin here.

    Args:
        names: Names of the machine beside its own.
        token: What to ask for; None for nothing.
    """

    def __init__(self, names: tuple[str, ...], token: str | None) -> None:
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local", *(name.lower() for name in names)}
        self._token = token

    def refusal(self, path: str, headers: Mapping[str, str], tokens: list[str]) -> str | None:
        """Give why a request is refused, None where it is not.

        Args:
            path: Of the request, without query.
            headers: Of the request, found whatever their case.
            tokens: What the browser shows, in cookie, query or header.
        """
        host = headers.get("Host", "")
        if not self.is_own_name(host):
            return "this view does not answer to that name; open it by its address"
        if not is_same_origin(headers.get("Origin"), host):
            return "another site's page asked for this view"
        if headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and headers.get("Sec-Fetch-Mode") != "navigate":
            return "another site's page asked for this view"
        if path not in OPEN_PATHS and not self.is_authorised(tokens):
            return "the token is missing or another one; open the address the program printed"
        return None

    def is_own_name(self, host: str) -> bool:
        """Whether a Host header names this machine."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name in self._names or _is_address(name))

    def is_authorised(self, tokens: list[str]) -> bool:
        """Whether one of ``tokens`` is the right one; compared in constant time."""
        if self._token is None:
            return True
        expected = self._token.encode()
        return any(hmac.compare_digest(token.encode(errors="surrogateescape"), expected) for token in tokens)


def is_same_origin(origin: str | None, host: str) -> bool:
    """Whether an Origin header is of the page at ``host``; programs that are no browser send none."""
    if origin is None:
        return True
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def security_headers(host: str) -> dict[str, str]:
    """Headers of every answer: nothing from elsewhere, no frames, no stored pictures."""
    # Safari before 15.4 does not count WebSockets as 'self'.
    sockets = f" ws://{host} wss://{host}" if host else ""
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
            f"connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
    }


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
