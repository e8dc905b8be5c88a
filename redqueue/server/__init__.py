"""I/O, and nothing else: sockets, signals, timers and the order in which they meet the engine."""
