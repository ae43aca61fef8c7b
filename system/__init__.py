"""What every part of the project stands on: files, machine, signals, threads. Imports nothing of the project."""
