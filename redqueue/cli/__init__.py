"""The operators' commands: ``redqueue COMMAND``."""
