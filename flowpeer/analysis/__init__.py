"""What answers are made from: periods, coverage, the inputs of reports; and the answers."""
