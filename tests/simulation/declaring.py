"""The words that a declaration leaves in a branch's row: by them the judge knows it."""

DECLARED = "Declared by an approver"
