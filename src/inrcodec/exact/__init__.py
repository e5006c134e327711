"""The network as the format defines it, in integers: the only way a file is decoded."""
