"""The services that the local AWS simulates, on moto or beside it."""
