"""Machine code that computes LANES numbers as one, and Fourier transforms of as many signals. Importing needs numba."""
