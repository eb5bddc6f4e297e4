"""What a site's data must be before a study starts: every fault of every case at once, each with its fix.

`check_site` is what a study does at its start; `survey` is what ``fedswin data check`` does: the same, and how the data
fit the job, and which images are there twice.
"""

from fedswin.data.check.case import Demands
from fedswin.data.check.finding import Finding, require_sound
from fedswin.data.check.site import check_site

__all__ = ["Demands", "Finding", "check_site", "require_sound"]
