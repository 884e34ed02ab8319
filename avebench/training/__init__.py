"""The one training loop with its checkpoints, and the pretraining of the encoders that this package ships.

No system is defined here, and no cell is known.
"""
