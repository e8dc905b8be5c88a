"""The queue engine: deterministic, single-threaded, without sockets or a clock of its own."""
