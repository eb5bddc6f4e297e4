"""The trainer's process at a real site: ``python FOLDER PROCESSES``. Nothing else may lie in this folder.

Python looks for modules here first.
"""

import sys

from fedswin.federation.trainer_process import run

if __name__ == "__main__":
    run(int(sys.argv[1]))
