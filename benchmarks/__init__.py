"""Measurements of RedQueue, alone and beside other servers."""
