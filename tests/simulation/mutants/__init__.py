"""The product with one rule broken, many times over: a checker that has never failed proves nothing.

Each mutant is :class:`~tests.simulation.world.Parts` with one part exchanged. What it breaks is its docstring.
``python -m tests.simulation --mutants`` shows how soon each is caught.
"""

from . import deciding, declaring, finishing, journal
from .registry import MUTANTS, caught

__all__ = ["MUTANTS", "caught", "deciding", "declaring", "finishing", "journal"]
