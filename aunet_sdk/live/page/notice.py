"""The notice for people in front of the camera, as a page that a kiosk can show (Art. 50(3) of the EU AI Act)."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["LANGUAGES", "Notice", "notice_page"]

LANGUAGES = ("en", "de", "fr", "es", "it")


@dataclass(frozen=True)
class Notice:
    """What only the operator knows; what is left empty is left out of the notice."""

    operator: str = ""
    """who runs the system and answers for it"""
    contact: str = ""
    """an address, a telephone number, a mail address, or where to ask"""
    purpose: str = ""
    """what the results are for, in the language of those who read it"""


def notice_page(notice: Notice, language: str) -> str:
    """The page as HTML, in one of LANGUAGES."""
    words = _texts()[language]
    rows = [
        (words["purpose"], notice.purpose),
        (words["operator"], notice.operator),
        (words["contact"], notice.contact),
    ]
    facts = "".join(f"<div><dt>{_e(name)}</dt><dd>{_e(value)}</dd></div>" for name, value in rows if value)
    points = "".join(f"<li>{_e(point)}</li>" for point in words["points"])
    links = "".join(
        f'<a href="/notice?lang={code}" lang="{code}" hreflang="{code}"'
        f"{' aria-current=page' if code == language else ''}>{_e(_texts()[code]['name'])}</a>"
        for code in LANGUAGES
    )
    return _template().format(
        language=language,
        title=_e(words["title"]),
        lead=_e(words["lead"]),
        points=points,
        facts=f"<dl>{facts}</dl>" if facts else "",
        links=links,
        languages=_e(words["languages"]),
    )


def choose_language(wanted: str | None, accepted: str) -> str:
    """The language that the address asks for, else the first of the header "Accept-Language" that there is."""
    if wanted in LANGUAGES:
        return str(wanted)
    for part in accepted[:200].split(","):
        code = part.partition(";")[0].strip().lower().partition("-")[0]
        if code in LANGUAGES:
            return code
    return LANGUAGES[0]


def _e(text: str) -> str:
    return html.escape(text, quote=True)


@cache
def _texts() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(_file("notice.json"))
    return read


@cache
def _template() -> str:
    return _file("notice.html")


def _file(name: str) -> str:
    return resources.files(__package__).joinpath("static", name).read_text(encoding="utf-8")
