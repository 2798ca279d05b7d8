"""The services that the embedded AWS emulates, on top of moto or beside it."""
