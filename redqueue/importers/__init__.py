"""What other queue servers hold, read for ``redqueue import``: live ones, and the journals of ended ones."""
