"""Gymnasium names, which ``import metarl.envs`` registers.

Nothing but names is loaded here; Meta-World and MuJoCo are imported when an environment is made.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

NAMESPACE = "metarl"
# Meta-World's families, each an environment of its own
SAWYER_FAMILIES = (
    *("assembly-v3", "basketball-v3", "bin-picking-v3", "box-close-v3"),
    *("button-press-topdown-v3", "button-press-topdown-wall-v3", "button-press-v3", "button-press-wall-v3"),
    *("coffee-button-v3", "coffee-pull-v3", "coffee-push-v3", "dial-turn-v3", "disassemble-v3"),
    *("door-close-v3", "door-lock-v3", "door-open-v3", "door-unlock-v3", "drawer-close-v3", "drawer-open-v3"),
    *("faucet-close-v3", "faucet-open-v3", "hammer-v3", "hand-insert-v3"),
    *("handle-press-side-v3", "handle-press-v3", "handle-pull-side-v3", "handle-pull-v3", "lever-pull-v3"),
    *(
        "peg-insert-side-v3",
        "peg-unplug-side-v3",
        "pick-out-of-hole-v3",
        "pick-place-v3",
        "pick-place-wall-v3",
    ),
    *("plate-slide-back-side-v3", "plate-slide-back-v3", "plate-slide-side-v3", "plate-slide-v3"),
    *("push-back-v3", "push-v3", "push-wall-v3", "reach-v3", "reach-wall-v3", "shelf-place-v3", "soccer-v3"),
    *("stick-pull-v3", "stick-push-v3", "sweep-into-v3", "sweep-v3", "window-close-v3", "window-open-v3"),
)
_MAKERS = "metarl.envs.metaworld.gymnasium_ids"
# suites with a vector environment that gives its slots the tasks of a split, in turn
SUITES = (
    *("ant-dir", "ant-goal", "ant-vel", "bandits", "cart-pole", "dynamics", "grasp-shapes"),
    *("half-cheetah-dir", "half-cheetah-vel", "hopper-rand-params", "humanoid-dir", "point"),
    *("walker2d-rand-params", "walker2d-vel"),
)
_SUITE_MAKER = "metarl.envs.gymnasium_ids"


def register_envs() -> None:
    """Register every environment that is not yet."""
    for benchmark in ("ML1", "ML10", "ML25", "ML45"):
        for split in ("train", "test"):
            _register(f"{benchmark}-{split}", "make_ml", benchmark=benchmark, split=split)
    for benchmark in ("MT10", "MT25", "MT50"):
        _register(benchmark, "make_mt", benchmark=benchmark)
    for suite in SUITES:
        _register(suite, "make_suite", _SUITE_MAKER, single="make_task", suite=suite)
    _register("MT1", "make_mt1", single="make_single")
    for family in SAWYER_FAMILIES:
        _register(family, "make_mt1", single="make_single", env_name=family)


def _register(
    name: str, maker: str, module: str = _MAKERS, *, single: str | None = None, **arguments: str
) -> None:
    if f"{NAMESPACE}/{name}" not in registry:
        register(
            f"{NAMESPACE}/{name}",
            entry_point=single and f"{module}:{single}",
            vector_entry_point=f"{module}:{maker}",
            kwargs=arguments,
        )
