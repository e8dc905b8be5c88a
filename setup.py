"""The daemon's script, and what is compiled; everything else is in pyproject.toml and build_backend/."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).parent / "build_backend"))
from redqueue_build import extensions

setup(scripts=["bin/redqueue_server.py"], ext_modules=extensions())
