"""Batches whose tasks do as a test says, one by one."""
