"""What is asked of the aggregates, the same whoever asks: a person over HTTP, a message, the first start.

Each function makes addressed commands. What a decision rests on is named here: streams it reads, sets it looks at."""
