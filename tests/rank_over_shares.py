"""One rank of several trainings, like `rank_of_trainings.py`, in which processors share out sequences."""

import context_parallel_on_processor
import rank_of_trainings

if __name__ == "__main__":
    context_parallel_on_processor.install()
    rank_of_trainings.main()
