"""mmjax: multi-modal autoencoder and attention-fused classification of rows that carry a table, a text and an image."""

__version__ = "0.1.0"
