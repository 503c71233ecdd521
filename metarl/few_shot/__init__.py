"""Few-shot learning for any torch module.

MAML for supervised tasks, and classification by prototypes: :func:`maml` meta-trains, :func:`adapt` learns
a new task, :func:`adaptation_losses` measures; they adapt by the agents' own inner loop.
:mod:`.classification` compares embeddings instead of adapting (Prototypical Networks, Matching Networks);
:mod:`.trajectories` applies it to rollouts.
"""

from metarl.few_shot.meta_training import adapt, adaptation_losses, maml

__all__ = ["adapt", "adaptation_losses", "maml"]
