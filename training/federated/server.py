"""Flower ServerApp: rounds of training, joint calibration and their records."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from inference.bundle import write_weights
from training.federated.client import SPLITS, network_of, record_of
from training.federated.counts import MarginCounts, figures_of, fit_jointly
from training.federated.plan import Plan
from training.federated.site import new_network
from training.federated.strategies import Round, make_strategy


def run_federation(grid: Grid, plan: Plan, out: Path | None = None) -> tuple[ArrayRecord, dict[str, Any]]:
    """Train, calibrate and evaluate one network over all sites.

    Returns
    -------
    The joint weights, and a summary: plan, rounds, privacy spent, calibrator, figures on the counts of ``test``.
    With ``out`` both are written there (``weights.safetensors``, ``federated.json``), and each round as it ends
    (``rounds.txt``).
    """
    started = time.monotonic()

    def report_round(ended: Round) -> None:
        print(ended.line(), file=sys.stderr, flush=True)
        if out is not None:
            with (out / "rounds.txt").open("a") as file:
                file.write(ended.line() + "\n")

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "rounds.txt").unlink(missing_ok=True)
    strategy = make_strategy(plan, report_round)
    while (connected := len(list(grid.get_node_ids()))) < plan.sites:
        print(f"waiting for sites: {connected} of {plan.sites}", file=sys.stderr, flush=True)
        time.sleep(1)
    arrays = record_of(new_network(plan))
    result = strategy.start(grid, arrays, num_rounds=plan.rounds, timeout=plan.wait_s)
    arrays = result.arrays or arrays
    counts = gather_counts(grid, plan, arrays)
    summary: dict[str, Any] = {
        "plan": asdict(plan),
        "rounds": [asdict(r) for r in strategy.rounds],
        "privacy": strategy.privacy_spent(),
        "seconds": round(time.monotonic() - started, 1),
    }
    try:
        summary["calibrator"] = fit_jointly(counts["val"])
        summary["test"] = figures_of(counts["test"], summary["calibrator"])
    except ValueError as error:
        summary["calibrator"], summary["not_calibrated"] = None, str(error)
    if out is not None:
        digest = write_weights(out, {f"{plan.group}0": network_of(plan, arrays)})
        (out / "federated.json").write_text(json.dumps({**summary, "weights_sha256": digest}, indent=1))
    return arrays, summary


def gather_counts(grid: Grid, plan: Plan, arrays: ArrayRecord) -> dict[str, MarginCounts]:
    """Return the margin counts of all answering sites; invalid counts are left out."""
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({})})
    messages = [
        Message(content=content, message_type=MessageType.QUERY, dst_node_id=node) for node in grid.get_node_ids()
    ]
    gathered: dict[str, list[MarginCounts]] = {split: [MarginCounts.received([0] * 64, [0] * 64)] for split in SPLITS}
    for reply in grid.send_and_receive(messages, timeout=plan.wait_s):
        if reply.has_error():
            print("a site did not answer with its counts", file=sys.stderr, flush=True)
            continue
        try:
            for split in SPLITS:
                record = reply.content[split]
                gathered[split].append(MarginCounts.received(record["benign"], record["malignant"]))
        except (KeyError, TypeError, ValueError) as error:
            print(f"a site's counts were left out: {error}", file=sys.stderr, flush=True)
    return {split: MarginCounts.sum(counts) for split, counts in gathered.items()}


app = ServerApp()


@app.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Entry point of a run; ``out`` of the run configuration is a folder of the server."""
    out = str(context.run_config.get("out", ""))
    _, summary = run_federation(grid, Plan.of(context.run_config), Path(out) if out else None)
    print(json.dumps({k: v for k, v in summary.items() if k != "plan"}), flush=True)
