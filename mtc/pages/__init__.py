"""Pages for people: self-contained HTML, without scripts, that shows what other packages found."""

from mtc.pages.neighbour_page import ASKED, NEIGHBOURS, Shown, neighbours
from mtc.pages.transfer_page import transfer

__all__ = ["ASKED", "NEIGHBOURS", "Shown", "neighbours", "transfer"]
