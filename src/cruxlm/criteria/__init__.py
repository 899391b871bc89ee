"""Criteria: ways to score blocks, how scores become a selection, and how scores agree."""

from cruxlm.criteria.registry import CRITERIA as CRITERIA
