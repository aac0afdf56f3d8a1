"""Embedded metering: usage that the service is told. This package owns the tables usage_*."""
