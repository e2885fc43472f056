"""An app of plans whose tasks write to databases that hold what they have written open."""
