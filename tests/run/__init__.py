"""Tests of the run room, with real processes."""
