"""Addresses of sources as they may be shown: without user, password and token."""

from __future__ import annotations

import re

__all__ = ["without_credentials"]

# Up to the last @ of the word, since people write passwords with / and # in them; better too much is hidden.
# Both begin where a word does: tried from every letter of it, a long one took seconds.
_USER = re.compile(r"(?<![a-z0-9+.-])([a-z0-9+.-]+://)\S*@", re.IGNORECASE)
_SECRET = re.compile(
    r"(?<![\w.-])([\w.-]*(?:password|passwd|pass|pwd|pw|token|secret|key|auth|user|user-id|username|login|sig|signature))"
    r"=(\"[^\"]*\"|[^&;\s]*)",
    re.IGNORECASE,
)


def without_credentials(address: str) -> str:
    """`address` with `***` in the place of a user and password before its host, and of the values of fields that are
    named like a secret (`token=`, `user-pw=`). What has neither stays as it is."""
    return _SECRET.sub(r"\1=***", _USER.sub(r"\1***@", address))
