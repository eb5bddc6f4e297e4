"""What a site holds: counted, and shown as tables or as a picture."""

from fedswin.data.holdings.count import Holdings, cases_by_class, holdings

__all__ = ["Holdings", "cases_by_class", "holdings"]
