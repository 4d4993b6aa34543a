"""What in a corpus would harm training: checks, measurements, report."""
