"""Speed, memory and scale of mmjax, measured against PyTorch: `make bench`, or one script at a time."""
