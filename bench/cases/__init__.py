"""What is measured: programs that the harness starts, one side of a row at a time."""
