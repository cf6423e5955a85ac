"""Compiled kernels, built from csrc/*.pyx. Which of them are there is asked by importing them; see `aunet_sdk.alignment`."""
