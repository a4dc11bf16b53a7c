"""Flower ClientApp of a site: trains on the site's own nodules and returns weights or counts.

The folder of the nodules is in the site's own node configuration (``data``, a folder; ``site``, its number), never
by the server.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from training.data.records import DataError
from training.federated.plan import Plan
from training.federated.site import Site, new_network, shared_state, take_state, train_round

SPLITS = ("val", "test")


@lru_cache(maxsize=8)
def _site(folder: str) -> Site:
    return Site.read(Path(folder), "cuda" if torch.cuda.is_available() else "cpu")


def own_site(context: Context) -> tuple[Site, int]:
    """Return the nodules and number of this process's site.

    Raises
    ------
    DataError
        The node configuration names no folder.
    """
    folder = context.node_config.get("data")
    if not isinstance(folder, str):
        raise DataError("start flower-supernode with --node-config 'data=\"/folder/of/nodules\" site=0'")
    return _site(folder), int(context.node_config.get("site", 0))


def record_of(network: torch.nn.Module) -> ArrayRecord:
    """Return the weights as an ArrayRecord."""
    return ArrayRecord({k: Array(v.numpy()) for k, v in shared_state(network).items()})


def network_of(plan: Plan, arrays: ArrayRecord) -> torch.nn.Module:
    """Return the plan's network with received weights."""
    network = new_network(plan)
    take_state(network, {k: torch.from_numpy(np.array(v.numpy(), dtype=np.float32)) for k, v in arrays.items()})
    return network


def make_app(mods: list[Mod] | None = None) -> ClientApp:
    """Return the ClientApp with ``mods`` (Flower's privacy mods, or a test's sabotage)."""
    app = ClientApp(mods=mods)

    @app.train()  # type: ignore[untyped-decorator]
    def train(message: Message, context: Context) -> Message:
        plan = Plan.of(context.run_config)
        site, number = own_site(context)
        config = message.content["config"]
        network = network_of(plan, message.content["arrays"]).to(site.batch.hu.device)
        samples = site.samples(plan.network_group())
        mu = float(config.get("proximal-mu", 0.0))
        loss = train_round(network, samples, plan, int(config["server-round"]), mu=mu, number=number)
        weight = 1 if plan.strategy == "private" else len(samples)  # its noise is counted for equal weights
        metrics = MetricRecord({"num-examples": weight, "loss": loss})
        return Message(RecordDict({"arrays": record_of(network), "metrics": metrics}), reply_to=message)

    @app.query()  # type: ignore[untyped-decorator]
    def count(message: Message, context: Context) -> Message:
        """Return counts of margins by the joint network on the splits without training."""
        plan = Plan.of(context.run_config)
        site, _ = own_site(context)
        network = network_of(plan, message.content["arrays"]).to(site.batch.hu.device)
        answer = {}
        for split in SPLITS:
            counts = site.counts(network, plan.network_group(), split)
            answer[split] = ConfigRecord({"benign": counts.benign.tolist(), "malignant": counts.malignant.tolist()})
        return Message(RecordDict(answer), reply_to=message)

    return app


app = make_app()
