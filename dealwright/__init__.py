"""What a person types: `dealwright …`, a client of the HTTP API."""
