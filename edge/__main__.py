"""`python -m edge COMMAND`."""

import sys

from edge.cli import main

sys.exit(main())
