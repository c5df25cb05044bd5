"""The network: annotations, attention, decoder, losses."""
