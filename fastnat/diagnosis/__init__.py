"""What an operator has at three in the morning, and which of the failures that look alike it shows."""
