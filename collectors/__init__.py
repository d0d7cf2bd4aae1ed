"""In: one look at one device or feed, wire -> reading. No loop, no retry, no clock of their own."""
