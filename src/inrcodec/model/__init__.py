"""The network ``f(x) = Dec(E_g(Enc(x)))``, one concept a file."""
