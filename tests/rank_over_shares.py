"""One rank of several trainings, like `rank_of_trainings.py`, in which processors share out sequences.

Those that train in bfloat16 pass for accelerators that can.
"""

import context_parallel_on_processor
import rank_of_trainings
from transformers import training_args

if __name__ == "__main__":
    context_parallel_on_processor.install()
    training_args.is_torch_bf16_gpu_available = lambda: True
    rank_of_trainings.main()
