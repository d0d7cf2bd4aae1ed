"""Every decoder of foreign bytes, as functions that must end in a value or in one of the adapter's errors."""
