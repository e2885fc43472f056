"""An app of plans whose tasks misbehave, beside the demo's."""
