"""What is wrong with the data: findings, each a line that says what, where and what to do."""
