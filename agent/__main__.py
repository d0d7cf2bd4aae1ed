"""`python -m agent` is the command `hashwatt`."""

import sys

from agent.cli import main

sys.exit(main())
