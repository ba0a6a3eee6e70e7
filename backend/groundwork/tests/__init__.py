from pathlib import Path

BACKEND = Path(__file__).parents[2]
"""The folder of the service that these tests take as their example."""
