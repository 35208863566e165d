"""`python -m bench`: measures this repository beside its peers, in one run on this machine.

python -m bench                      everything, into results/bench
python -m bench losses gradients     some of it
python -m bench losses --largest 2048 --repeats 3 --out bench-now

Peers that are on no package index take part in `gradients` if their clones are at hand:

    BENCH_CHECKOUTS=folder python -m bench gradients     folder/{solo-learn,multimodal,DisCo-CLIP}
"""

import os
import sys

# Before torch is imported: one thread, so that CPU seconds are comparable and a busy machine matters less.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

from bench.cli import main  # noqa: E402

sys.exit(main())
