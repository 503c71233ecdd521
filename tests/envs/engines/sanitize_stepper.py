"""Run the compiled stepper under sanitizers of the compiler; it ends with status 0 if nothing was found.

    python tests/envs/engines/sanitize_stepper.py thread
    python tests/envs/engines/sanitize_stepper.py address,undefined

The stepper and its C functions are instrumented, MuJoCo and Python are not.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import mujoco
import numpy as np

from metarl.envs.engines.arrays import namespace
from metarl.envs.engines.threads import batched, compiled
from metarl.envs.engines.threads.batched import BatchedPhysics
from metarl.envs.engines.threads.c_functions import CFunction, Rows
from metarl.envs.engines.threads.features import Feature
from metarl.envs.engines.threads.worlds import FATAL

RUNTIMES = {"thread": "libtsan.so", "address": "libasan.so", "undefined": "libubsan.so"}
ARM = """
<mujoco>
  <worldbody>
    <geom name="leftpad_geom" type="plane" size="5 5 1"/>
    <geom name="rightpad_geom" type="box" size=".1 .1 .1" pos="1 0 .1"/>
    <body name="target" mocap="true" pos="0 0 1"/>
    <body name="ball" pos="0 0 .3"><freejoint/><geom name="ball" type="sphere" size=".1"/></body>
    <body name="arm" pos="0 1 1"><joint name="hinge" axis="0 1 0"/>
      <geom size=".05" type="capsule" fromto="0 0 0 .3 0 0"/></body>
  </worldbody>
  <equality><weld body1="target" body2="ball"/></equality>
  <actuator><motor joint="hinge"/></actuator>
</mujoco>
"""
FEATURES = (
    Feature("xpos", "body", "ball"),
    Feature("qpos", "joint", "hinge"),
    Feature("touching", "geom", "ball"),
    Feature("qvel", "all"),
)


def some_of_everything(tables: Sequence[Rows], width: int) -> CFunction:
    """Return a function with every operation, on ``width`` features."""
    function = CFunction(tables)
    x, single = function.load(0, width), function.load(1, 2)
    xp = namespace(x)
    size = xp.sqrt(xp.linalg.vecdot(x, x, axis=0))
    waves = xp.stack([xp.exp(-size), xp.log(size + 1.0), xp.sin(size), xp.cos(size)])
    chosen = xp.where((x > 0.1) & (x <= 2.0) | (x < -1.0), xp.maximum(-x, 0.5), xp.minimum(abs(x), 3.0))
    function.store(2, xp.concatenate([waves, chosen[:2], x[:2] * single / 3.0 - single]))
    return function


def exercise(num_threads: int) -> None:
    """Walk through everything that the C side offers: states, masks, other families, errors, divergence."""
    model, broken = mujoco.MjModel.from_xml_string(ARM), mujoco.MjModel.from_xml_string(ARM)
    broken.opt.integrator = 77
    physics = BatchedPhysics([model, broken], [0] * 37, stepper="compiled", num_threads=num_threads)
    physics.bind([FEATURES, FEATURES[:2]])
    singles, sums = np.ones((37, 2), np.float32), np.zeros((37, 8))
    tables = [physics.features, singles, sums]
    assert physics.compute([some_of_everything(tables, width) for width in (4, 3)], tables)
    physics.expand("body_pos")[3][model.body("arm").id] += 0.1
    start = physics.get_state(range(37))
    rng = np.random.default_rng(0)
    for t in range(40):
        if t == 20:
            physics.assign([i % 5 == 0 for i in range(37)])
        if t == 30:
            physics.data(1).qvel[:] = 1e9
        physics.step(
            3,
            ctrl=rng.normal(size=(37, 1)),
            mocap_pos=rng.normal(size=(37, 1, 3)),
            mocap_quat=np.tile([1.0, 0, 0, 0], (37, 1, 1)),
            mask=rng.random(37) < 0.8,
        )
    assert physics.flags[0] == FATAL
    assert physics.diverged[1]
    physics.assign([0] * 37)
    physics.set_state(range(37), start)
    physics.step(2)
    assert not physics.flags.any()
    assert sums.any()
    physics.close()


def runtime(sanitizer: str) -> str:
    """Return the path of a sanitizer's library."""
    command = ["cc", f"-print-file-name={RUNTIMES[sanitizer]}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Build with the sanitizer, start again with its runtime loaded first, and exercise the stepper."""
    names = sys.argv[1].split(",")
    flags = [f"-fsanitize={sys.argv[1]}", "-g", "-fno-omit-frame-pointer"]
    library = compiled.build(flags)
    if "SANITIZED" not in os.environ:
        options = {
            "SANITIZED": "1",
            "LD_PRELOAD": ":".join(runtime(name) for name in names),
            "ASAN_OPTIONS": "detect_leaks=0",  # Python frees little when it ends
            "UBSAN_OPTIONS": "halt_on_error=1",
        }
        again = [sys.executable, *sys.argv]
        sys.exit(subprocess.run(again, env={**os.environ, **options}, check=False).returncode)
    loaded = compiled._declare(ctypes.CDLL(str(library)))
    vars(batched)["load"] = lambda: loaded  # the instrumented one
    vars(batched)["compile_functions"] = partial(compiled.compile_functions, extra_flags=flags)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(Path(scratch))
        for num_threads in (1, 2, 5):
            exercise(num_threads)


if __name__ == "__main__":
    main()
