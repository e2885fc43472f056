"""The app whose batches a chaos run launches: what a user would write, and tables that show every effect."""
