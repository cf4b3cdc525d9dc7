"""Experiments: YAML configurations, and run folders that are trained, continued, tested and pictured."""
