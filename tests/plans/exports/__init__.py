"""Tests of the exports, and what they verified."""
