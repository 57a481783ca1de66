"""Tests of the KPI room."""
