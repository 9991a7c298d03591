# SPDX-License-Identifier: GPL-3.0-or-later
"""make bench: how long the collection takes beside kubectl, helm and kubernetes.core, and what it asks the API server."""
from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
COLLECTIONS = REPOSITORY / ".venv/collections"
sys.path.insert(0, str(COLLECTIONS))
