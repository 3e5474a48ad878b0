"""`python -m edge COMMAND`."""

import sys

from edge.cli.main import main

sys.exit(main())
