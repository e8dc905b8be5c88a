"""The append-only journal: records in checksummed frames in segment files.

The journal knows records, not queues. Nothing here imports the engine, the
protocol or an event loop.
"""
