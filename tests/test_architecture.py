"""Holds the house in order: what may import what, where printing is allowed, where random numbers come from.

The source is parsed, not imported, so that an import inside a function or under TYPE_CHECKING counts too.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

FLOORS = (
    "metarl",
    "metarl.system",
    "metarl.functional",
    "metarl.networks",
    "metarl.learning",
    "metarl.rollouts",
    "metarl.few_shot",
    "metarl.storage",
    "metarl.plugins",
    "metarl.evaluation",
    "metarl.sb3",
    "metarl.analysis",
    "metarl.training",
    "metarl.baselines",
    "metarl.reporting",
    "metarl.agents",
    "metarl.envs.engines",
    "metarl.envs.task_sampling",
    "metarl.envs.custom",
    "metarl.envs.metaworld",
    "metarl.envs.locomotion",
    "metarl.envs.grasp",
    "metarl.envs.toy",
    "metarl.envs",
    "metarl.presets",
    "metarl.deploy",
    "metarl.api",
    "metarl.cli",
    "scripts",
    "benchmarks",
)
"""Folders from the ground up; a module may import from its own folder and from those before it."""

THE_DOOR = ("metarl", "metarl.__main__")
"""Offers what stands on the floors, imported when it is used."""

MAY_PRINT = ("metarl.cli.console", "scripts", "benchmarks")

GENERATOR_MAKERS = {
    "numpy.random": {"Generator", "default_rng", "SeedSequence", "BitGenerator", "PCG64", "Philox"},
    "random": {"Random"},
}
"""All else in these modules is, or draws from, a global generator."""

PUTTING_BACK = {
    *("numpy.random.get_state", "numpy.random.set_state"),
    *("random.getstate", "random.setstate"),
}
"""Leave no trace of a library that draws from the global generator."""

TORCH_SEEDING = {"manual_seed", "seed", "set_rng_state", "manual_seed_all", "seed_all"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
TORCH_DRAWS_WITHOUT_GENERATOR = {"rand_like", "randn_like", "randint_like"}
TENSOR_DRAWS = {"normal_", "uniform_", "random_", "exponential_", "bernoulli_"}
TORCH_CONSTANTS = {"zeros_", "ones_", "constant_", "eye_", "calculate_gain"}
TORCH_LAYERS = {"Linear", "Embedding", "GRU", "GRUCell", "LSTM", "LSTMCell", "Conv1d", "Conv2d"}
"""Their first weights come from the global generator."""

Trees = dict[str, ast.Module]


@pytest.fixture(scope="session")
def trees(source_files: dict[str, Path]) -> Trees:
    return {name: ast.parse(path.read_text(), filename=str(path)) for name, path in source_files.items()}


@pytest.fixture(scope="session")
def arrows(trees: Trees) -> dict[str, set[str]]:
    """Return, for each module, those of ours that it imports."""
    return {name: ours(imported_names(tree), trees) - {name} for name, tree in trees.items()}


def imported_names(tree: ast.AST) -> set[str]:
    """Return every dotted name that is imported anywhere; of ``from a import b`` both ``a`` and ``a.b``."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def ours(names: set[str], modules: Trees) -> set[str]:
    """Return the modules among ``names``; a package counts only where nothing in it is named."""
    hits = {name for name in names if name in modules}
    return {name for name in hits if not any(other.startswith(name + ".") for other in hits)}


def floor(module: str) -> int:
    """Return the number of the innermost listed folder that the module stands in.

    Raises:
        LookupError: if its folder is not listed.
    """
    if module in THE_DOOR:
        return FLOORS.index("metarl.cli")
    folder = module if module in FLOORS else module.rpartition(".")[0]
    while folder not in FLOORS:
        folder = folder.rpartition(".")[0]
    if folder == "metarl" and module.count(".") > 1:
        raise LookupError(f"The folder of {module} is on no floor: give it one in FLOORS.")
    return FLOORS.index(folder)


def inside(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def full_names(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for: ``np`` for ``numpy``, ``rand`` for ``torch.rand``."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or name] = name
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the full dotted name of an expression, or nothing for one that is not rooted in an import."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute) and (base := dotted(node.value, names)):
        return f"{base}.{node.attr}"
    return ""


def full_dotted(tree: ast.Module) -> list[str]:
    """Return the full name of every ``a.b`` in the source that is rooted in an import."""
    names = full_names(tree)
    return [dotted(node, names) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]


def global_draws(tree: ast.Module) -> list[str]:
    """Return where a global generator is seeded or drawn from."""
    names = full_names(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [f"line {call.lineno}: {ast.unparse(call.func)}" for call in calls if draws_globally(call, names)]


def draws_globally(call: ast.Call, names: dict[str, str]) -> bool:
    function = dotted(call.func, names)
    module, _, name = function.rpartition(".")
    if module in GENERATOR_MAKERS:
        unseeded = name == "default_rng" and not (call.args or call.keywords)
        return unseeded or (name not in GENERATOR_MAKERS[module] and function not in PUTTING_BACK)
    given_a_generator = any(keyword.arg == "generator" for keyword in call.keywords)
    if inside(module, "torch"):
        draws = name in TORCH_DRAWS or (module == "torch.nn.init" and name not in TORCH_CONSTANTS)
        always = name in TORCH_SEEDING | TORCH_DRAWS_WITHOUT_GENERATOR | TORCH_LAYERS
        return always or (draws and not given_a_generator)
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    return not module and method in TENSOR_DRAWS and not given_a_generator


def violations(
    trees: Trees, rule: Callable[[ast.Module], object], *, outside: tuple[str, ...] = ()
) -> list[str]:
    """Return ``module: what`` for every module outside some packages on which the rule finds something."""
    return [
        f"{name}: {found}"
        for name, tree in trees.items()
        if not inside(name, *outside) and (found := rule(tree))
    ]


def print_lines(tree: ast.Module) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def test_every_module_is_seen(trees: Trees) -> None:
    assert {"metarl.types", "metarl.envs", "metarl.agents"} <= trees.keys()


def test_every_module_stands_on_a_floor(trees: Trees) -> None:
    assert all(floor(module) >= 0 for module in trees)


def test_imports_only_go_down(arrows: dict[str, set[str]]) -> None:
    upward = {(a, b) for a, imported in arrows.items() for b in imported if floor(a) < floor(b)}
    assert not upward


def test_core_never_imports_suites_or_agents(arrows: dict[str, set[str]]) -> None:
    core = {
        a: b
        for a, b in arrows.items()
        if not inside(a, "metarl.envs", "metarl.agents", "benchmarks") and a not in THE_DOOR
    }
    assert not {
        (a, b) for a, imported in core.items() for b in imported if inside(b, "metarl.envs", "metarl.agents")
    }


@pytest.mark.parametrize(("one", "other"), [("envs", "agents"), ("agents", "envs")])
def test_suites_and_agents_do_not_know_each_other(arrows: dict[str, set[str]], one: str, other: str) -> None:
    rooms = {a: b for a, b in arrows.items() if inside(a, f"metarl.{one}")}
    assert not {(a, b) for a, imported in rooms.items() for b in imported if inside(b, f"metarl.{other}")}


def test_nothing_imports_our_folders_as_top_level_packages(trees: Trees) -> None:
    foreign = ("envs", "agents", "scripts", "tests")
    assert not violations(
        trees, lambda tree: {name for name in imported_names(tree) if inside(name, *foreign)}
    )


def test_imports_are_absolute(trees: Trees) -> None:
    assert not violations(trees, lambda tree: {name for name in imported_names(tree) if name.startswith(".")})


def test_there_is_no_import_cycle(arrows: dict[str, set[str]]) -> None:
    graphlib.TopologicalSorter(arrows).prepare()  # raises CycleError, which names the cycle


def test_only_programs_print(trees: Trees) -> None:
    assert not violations(trees, print_lines, outside=MAY_PRINT)


def test_every_module_has_a_docstring(trees: Trees) -> None:
    assert not violations(trees, lambda tree: not ast.get_docstring(tree))


def test_nothing_is_typed_any(trees: Trees) -> None:
    assert not violations(trees, lambda tree: "typing.Any" in imported_names(tree) | set(full_dotted(tree)))


def test_library_uses_no_global_random_generator(trees: Trees) -> None:
    assert not violations(trees, global_draws, outside=("scripts", "benchmarks"))


def test_every_type_ignore_gives_its_reason(source_files: dict[str, Path]) -> None:
    bare = re.compile(r"type: ignore(?!\[[\w, -]+\]\s+# \w)")
    assert not [name for name, path in source_files.items() if bare.search(path.read_text())]


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.random.seed(0)",
        "import numpy as np\nnp.random.normal(size=3)",
        "import numpy as np\nnp.random.default_rng()",
        "from numpy import random as r\nr.shuffle([1])",
        "import random\nrandom.seed(0)",
        "from random import choice\nchoice([1])",
        "import torch\ntorch.manual_seed(0)",
        "import torch\ntorch.cuda.manual_seed_all(0)",
        "import torch\ntorch.randn(3)",
        "import torch\ntorch.nn.init.xavier_uniform_(torch.empty(2, 2))",
        "from torch.nn import init\ninit.orthogonal_(weight)",
        "from torch import nn\nnn.Linear(2, 2)",
        "import torch\ntorch.randn_like(torch.ones(2))",
        "import torch\ntorch.empty(3).normal_()",
        "noise.normal_()",
    ],
)
def test_a_global_draw_is_found(source: str) -> None:
    assert global_draws(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nrng = np.random.default_rng(0)\nrng.multinomial(1, [1.0])\nrng.normal()",
        "import random\nrandom.Random(0).choice([1])",
        "import torch\ng = torch.Generator()\ng.manual_seed(0)\ntorch.randn(3, generator=g)",
        "import torch\ntorch.empty(3).normal_(generator=g)",
        "import torch\ntorch.nn.init.xavier_uniform_(weight, generator=g)",
        "import torch\ntorch.nn.init.zeros_(bias)",
    ],
)
def test_a_draw_from_a_given_generator_is_allowed(source: str) -> None:
    assert not global_draws(ast.parse(source))


def test_an_import_inside_a_function_is_seen() -> None:
    tree = ast.parse("def build() -> None:\n    from metarl.envs import point")
    assert imported_names(tree) == {"metarl.envs", "metarl.envs.point"}


def test_a_folder_without_a_floor_is_refused() -> None:
    with pytest.raises(LookupError, match="on no floor"):
        floor("metarl.attic.chest")
