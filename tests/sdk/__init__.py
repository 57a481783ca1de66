"""The SDK room, mostly tried in real processes with a receiver behind them."""
