"""The ways out of the house, one function each. None raises for what the world answers: it says so in Performed."""
