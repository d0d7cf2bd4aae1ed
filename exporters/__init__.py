"""Out: one frozen Cycle in, page text or messages out. No connection of their own."""
