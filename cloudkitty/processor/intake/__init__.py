"""Intake: the processes that store usage from the message bus."""
