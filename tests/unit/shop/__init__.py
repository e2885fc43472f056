"""An app of somebody's with plans that misbehave, for the tests of launching."""
