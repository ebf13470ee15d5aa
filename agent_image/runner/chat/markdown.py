"""Model text as safe HTML: Markdown without raw HTML, then sanitised all the same."""

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

_parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
_TAGS = {
    "p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "h1", "h2", "h3", "h4",
    "h5", "h6", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
_SAFE_LINKS = {"http", "https", "mailto"}


def to_html(text: str) -> Markup:
    """Return the HTML of one message; nothing in it can run, load or post anything."""
    return Markup(  # noqa: S704 - this is what the sanitiser is for
        nh3.clean(
            _parser.render(text),
            tags=_TAGS,
            attributes={"a": {"href"}, "ol": {"start"}},
            url_schemes=_SAFE_LINKS,
            link_rel="noopener noreferrer nofollow",
        )
    )
