"""Tests of the documentation: generated pages are in step, examples run, links lead somewhere."""
