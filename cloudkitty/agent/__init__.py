"""The agent: measures with pollsters, and sends what they yield as metering messages."""
