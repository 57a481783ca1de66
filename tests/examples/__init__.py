"""Tests of the examples, on made folders and on the standard library."""
