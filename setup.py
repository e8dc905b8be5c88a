"""The daemon's script; everything else is in pyproject.toml."""

from setuptools import setup

setup(scripts=["bin/redqueue_server.py"])
