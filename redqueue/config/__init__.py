"""How the options come from the command line, the environment and a TOML file, and how they are written back."""
