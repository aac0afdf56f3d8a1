"""Embedded metering: stores pushed and measured usage. This package owns the tables usage_*."""
