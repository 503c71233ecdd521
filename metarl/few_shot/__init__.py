"""Few-shot learning of any module: MAML for supervised tasks, and classification by prototypes.

:func:`maml` meta-trains, :func:`adapt` learns a new task, :func:`adaptation_losses` measures; they adapt by
the inner loop that the agents adapt by. :mod:`.classification` compares embeddings instead of adapting
(Prototypical Networks, Matching Networks); :mod:`.trajectories` applies it to what a policy lived through.
"""

from metarl.few_shot.meta_training import adapt, adaptation_losses, maml

__all__ = ["adapt", "adaptation_losses", "maml"]
