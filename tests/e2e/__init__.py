"""Stories of the whole product: a virtual farm, the agent as its users start it, and real peers."""
