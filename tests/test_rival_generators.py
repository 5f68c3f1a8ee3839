"""Neural reference generators of returns: what all have in common, and what each is built on."""
