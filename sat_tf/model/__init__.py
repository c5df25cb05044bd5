"""The network: encoder, decoder with attention, losses and generation."""
