"""The web under ``http_port``: pages, the JSON API, metrics and probes, a Tornado application on the server's loop."""
