"""One look at one source of market numbers; every answer passes bounds before it becomes a Quote."""
