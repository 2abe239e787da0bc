"""`hub doctor`: looks at everything that a hub needs, and says of each thing how it is and what to do about it."""
