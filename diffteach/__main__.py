"""`python -m diffteach`."""

import sys

from diffteach.cli import main

sys.exit(main())
