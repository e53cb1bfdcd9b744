"""The LLVM backend: kernels as IR text, compiled for the CPU at run time."""
