"""The web application: the operators' page, the JSON API and the metrics."""
