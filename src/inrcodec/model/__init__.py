"""The networks in torch, one concept a file."""
