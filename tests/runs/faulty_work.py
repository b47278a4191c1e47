"""What the tests of faults let other processes do: runs that end at different steps, checkpoints, curves."""

import os
import runpy
import sys
from pathlib import Path


def work(environment: dict[str, str], notes: str, errors: str) -> None:
    """Train, interpolate, and note every run that is trained; standard error goes into a file."""
    os.environ.clear()
    os.environ.update(environment)
    sys.stderr = open(errors, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    runpy.run_path(str(Path(__file__).parent / "faults" / "sitecustomize.py"))
    import mli_utils as mli
    from mli_utils.core import training
    from mli_utils.runs import checkpoints

    checkpoints.SHARE = 1e9  # at every epoch
    train_group = training.train_group

    def noted(configs, *rest):
        for trained in train_group(configs, *rest):
            with open(notes, "a", encoding="utf-8") as file:
                file.write(f"{trained.config.bias} {trained.config.seed}\n")
            yield trained

    training.train_group = noted
    fields = dict(depth=3, width=16, init_scale=1.0, lr=0.1, n_train=100, epochs=30, batch_size=50)
    runs = mli.train(mli.grid(**fields, bias=["none", "output"], seed=range(3)))
    mli.interpolate(runs, ["linear", "homogeneous"], 7)
    mli.interpolate(runs[:2], alphas=5)
