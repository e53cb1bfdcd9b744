"""Evaluation: memory, threads, the execution of programs, host calls and files."""
