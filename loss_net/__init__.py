"""The frozen network that judges pictures, its losses, and the slow method that minimizes them."""
