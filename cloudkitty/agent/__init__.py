"""The agent: measures with pollsters, and sends the results as metering messages."""
