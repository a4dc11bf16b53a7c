"""``python -m training.federated.bundle --joint DIR... --data DIR --out DIR``: build a bundle from joint weights.

``--joint`` are the folders that federated runs wrote, one for each group of networks. Their answers on the split
``val`` of ``--data``, which no site may have trained on, go through ``training.calibrate`` like those of networks that
were trained in one place: the hospital that leads calibrates on its own patients what all have taught. A bundle without
the group ``planar`` answers for whole series, not for single slices.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from inference.bundle import Bundle
from training import calibrate
from training.data.leaks import refuse_leaks
from training.data.records import DataError
from training.data.splits import LeakError
from training.federated.plan import Plan
from training.federated.site import Site
from training.train import Trained, commit_of_code, write_trained


def read_joint(folder: Path) -> tuple[Plan, torch.nn.Module, dict[str, Any]]:
    """Read the plan, the joint network and the summary that a federated run wrote.

    Raises
    ------
    DataError
        They are missing, or the weights are not those of the summary.
    """
    try:
        summary = json.loads((folder / "federated.json").read_text())
        content = folder / "model.safetensors"
        digest = hashlib.sha256(content.read_bytes()).hexdigest()
    except (OSError, ValueError):
        raise DataError(f"{folder} holds no federated.json and model.safetensors: name a run's own folder") from None
    if digest != summary["weights_sha256"]:
        raise DataError(f"the weights in {folder} are not those that its federated.json was written for")
    plan = Plan(**summary["plan"])
    weights = {name: tensor.float() for name, tensor in load_file(content).items()}
    member = plan.network_group().member(f"{plan.group}0")
    ((_, network),) = Bundle(folder, {"members": [member]}, weights).members(torch.device("cpu"))
    return plan, network, summary


def record_of_run(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the bundle's record of a federated run."""
    fields = ("group", "strategy", "rounds", "local_epochs", "sites", "seed")
    return {
        **{name: summary["plan"][name] for name in fields},
        "sites_accepted": [one["accepted"] for one in summary["rounds"]],
        "samples": max(one.get("samples", 0) for one in summary["rounds"]),
        "privacy": summary["privacy"],
    }


def make_trained(joints: list[Path], site: Site) -> Trained:
    """Return the joint networks with their margins on the split ``val`` of the leading hospital.

    Raises
    ------
    DataError
        Two runs trained the same group, or ``val`` has no nodule.
    """
    networks: dict[str, torch.nn.Module] = {}
    members, margins, runs = [], [], []
    for folder in joints:
        plan, network, summary = read_joint(folder)
        prefix = f"{plan.group}0"
        if prefix in networks:
            raise DataError(f"two of the runs trained the group {plan.group}: name one folder for each group")
        networks[prefix] = network
        members.append(plan.network_group().member(prefix))
        margins.append(unseen_margins(site, network, plan))
        runs.append(record_of_run(summary))
    training = {
        "samples": runs[0]["samples"],
        "split_sha256": "each site's own",
        "seed": runs[0]["seed"],
        "commit": commit_of_code(),
        "federated": runs,
    }
    return Trained(networks, members, margins, training)


def unseen_margins(site: Site, network: torch.nn.Module, plan: Plan) -> NDArray[np.float64]:
    """Return margins of the split ``val``, NaN for all other nodules."""
    val_margins, _ = site.margins(network, plan.network_group(), "val")
    if not len(val_margins):
        raise DataError("the split val has no nodule that is benign or malignant: nothing to calibrate on")
    margins = np.full(len(site.task.names), np.nan)
    margins[site.chosen("val", labelled=True)] = val_margins
    return margins


def main(argv: list[str] | None = None) -> int:
    """Run the command; ``training.calibrate`` prints one JSON object last."""
    parser = argparse.ArgumentParser(prog="python -m training.federated.bundle", description=__doc__.split("\n")[0])
    parser.add_argument("--joint", type=Path, nargs="+", required=True, help="folders that federated runs wrote")
    parser.add_argument("--data", type=Path, required=True, help="nodules whose split val no site has trained on")
    parser.add_argument("--out", type=Path, required=True, help="folder for the bundle")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        refuse_leaks("nodule", args.data)
        site = Site.read(args.data)
        args.out.mkdir(parents=True, exist_ok=True)
        write_trained(args.out, site.task, make_trained(args.joint, site))
    except (DataError, LeakError, OSError) as error:
        print(f"training.federated.bundle: {error}", file=sys.stderr)
        return 2
    return calibrate.main(["--data", str(args.data), "--out", str(args.out), "--seed", str(args.seed)])


if __name__ == "__main__":
    raise SystemExit(main())
