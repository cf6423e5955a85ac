"""Text of any language in a plot, as far as this machine has fonts for it."""

from __future__ import annotations

__all__ = ["legible"]

# Fonts that systems ship for the scripts and signs that Matplotlib's own font lacks.
FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Nirmala UI",
    "Leelawadee UI",
    "Noto Emoji",
    "Segoe UI Emoji",
    "Symbola",
)
UNKNOWN = "\N{WHITE SQUARE}"


def legible(text: str) -> tuple[str, list[str]]:
    """The text with a white square for what no font here has, and the font families that it wants.

    Control characters, and bytes of a file's name that are not UTF-8, are such squares too. Matplotlib would warn on
    stderr for each of them.
    """
    from matplotlib import font_manager, rcParams

    families = list(rcParams["font.family"])
    known = set(_characters(font_manager.findfont(font_manager.FontProperties(family=families))))
    missing = {ord(letter) for letter in text} - known
    if missing:
        installed = {font.name: font.fname for font in font_manager.fontManager.ttflist}
        for name in FALLBACKS:
            if name in installed and missing & (own := set(_characters(installed[name]))):
                families.append(name)
                missing -= own
    missing |= {ord(letter) for letter in text if not letter.isprintable()}
    return "".join(UNKNOWN if ord(letter) in missing else letter for letter in text), families


def _characters(path: str) -> list[int]:
    from matplotlib.font_manager import get_font

    return list(get_font(path).get_charmap())
