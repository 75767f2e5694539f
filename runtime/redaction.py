"""Names of sources without the secrets inside them."""

from __future__ import annotations

import re

HIDDEN = "***"
#: user and password before the last @ of a URI's authority; passwords may hold an @ themselves
USER_INFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#\s]*@")
#: values of query parameters whose names say that they are secret
SECRET_PARAMETER = re.compile(
    r"(?P<name>[?&;][^=&;\s]*(?:pass|pwd|token|secret|key|auth|user|login|sig)[^=&;\s]*=)[^&;#\s]*", re.IGNORECASE
)


def redacted(text: str) -> str:
    """Hide users, passwords and tokens of every URI in ``text``.

    Example:
        >>> redacted("rtsp://admin:hunter2@10.0.0.7/live?token=abc&channel=1")
        'rtsp://***@10.0.0.7/live?token=***&channel=1'
    """
    without_users = USER_INFO.sub(rf"\g<scheme>{HIDDEN}@", text)
    return SECRET_PARAMETER.sub(rf"\g<name>{HIDDEN}", without_users)
