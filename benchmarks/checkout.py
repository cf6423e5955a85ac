"""Imported before `train` and `export`: they are no part of the installed package, this finds them in the checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
