"""Times and numbers in templates.

Times are in UTC from the server; the script on the page turns them into the reader's own.
"""

from datetime import UTC, datetime, timedelta

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def moment(at: datetime | None, kind: str = "full") -> SafeString | str:
    """A ``<time>`` for ``at``, to the second; ``kind`` "clock" leaves the day out. An en dash for nothing."""
    if at is None:
        return "–"
    utc = at.astimezone(UTC)
    full = f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    words = f"{utc:%H:%M:%S} UTC" if kind == "clock" else full
    iso = utc.isoformat(timespec="milliseconds")
    return format_html('<time datetime="{}" title="{}" data-kind="{}">{}</time>', iso, full, kind, words)


@register.filter
def took(length: timedelta | None) -> str:
    """A length of time in words: "12 ms", "3.4 s", "2 min 5 s", "1 h 3 min", "2 d 4 h". An en dash for nothing."""
    if length is None:
        return "–"
    seconds = max(0.0, length.total_seconds())
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


@register.filter
def seconds(number: float) -> str:
    """So many seconds, as :func:`took` says them."""
    return took(timedelta(seconds=number))


@register.filter
def thousands(number: int) -> str:
    """``number`` with its thousands apart: "10,000"."""
    return f"{number:,}"
