"""How fast synthesis and training are."""
