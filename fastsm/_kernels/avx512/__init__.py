"""The kernels built for this instruction set."""
