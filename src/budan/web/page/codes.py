"""QR codes drawn as SVG."""

from functools import lru_cache

import segno

# One drawing takes 3.5 ms of CPU, and an open page is loaded more than once.
DRAWINGS_KEPT = 512


@lru_cache(maxsize=DRAWINGS_KEPT)
def draw_code(text: str) -> str:
    """The code as an SVG element without sizes or styles of its own: the page's stylesheet gives them."""
    return segno.make_qr(text, error="m").svg_inline(omitsize=True, border=4, svgclass="qr", lineclass=None)
