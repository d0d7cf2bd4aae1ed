"""The proof: an emulated farm that speaks real wire protocols on 127/8, the demo, and tests against real hardware."""
