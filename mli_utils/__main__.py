"""`python -m mli_utils COMMAND`."""

import sys

from mli_utils.book.command import main

if __name__ == "__main__":
    sys.exit(main())
