"""The paper's model, a part a file: towers, attention, autoencoder, classifier. No I/O, no optimiser."""
