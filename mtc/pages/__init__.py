"""Pages for people: self-contained HTML, without scripts, that shows what other rooms found."""

from mtc.pages.transfer_page import transfer

__all__ = ["transfer"]
