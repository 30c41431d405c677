"""The dashboards, as Python; Grafana's JSON is made from it."""
