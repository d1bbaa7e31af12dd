"""timm and torchvision, which `make test` installs to .venv/timm, apart from what the other tests import."""

import pytest

from helpers.template import ROOT

FOLDER = ROOT / ".venv" / "timm"
ENVIRONMENT = {"PYTHONPATH": str(FOLDER), "HF_HUB_OFFLINE": "1"}

needs_timm = pytest.mark.skipif(
    not FOLDER.exists(), reason="`make test` installs timm to .venv/timm"
)
