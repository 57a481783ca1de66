"""The receivers and the group commit."""
