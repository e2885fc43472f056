"""The link to what needs attention, with how much does."""

from typing import Any

from django import template

from coordination.web.attention import standing

register = template.Library()


@register.simple_tag(takes_context=True)
def needs_attention(context: dict[str, Any]) -> int:
    """How many things need the attention of whoever looks at the page."""
    return standing(context.get("user"))
