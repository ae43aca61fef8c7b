"""Work on many machines: `infer.py --cluster` and `train.py --cluster`, on Ray."""
