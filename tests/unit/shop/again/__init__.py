"""An app whose plan has the name of another's."""
