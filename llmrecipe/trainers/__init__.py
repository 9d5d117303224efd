"""What the trainers of the libraries lack: Muon, packed batches, sealed checkpoints, the training log."""
