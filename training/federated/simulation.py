"""In-process federation for experiments, with the same apps and strategies."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from training.federated.plan import Plan


class InProcess(Grid):
    """Grid that passes each message directly to the site's ClientApp.

    Parameters
    ----------
    folders
        Each site's folder of nodules.
    apps
        Each site's ClientApp; a site that is None never answers.
    """

    def __init__(self, folders: list[Path], apps: list[ClientApp | None], plan: Plan) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 0  # whose messages these are
        self._apps = dict(enumerate(apps, start=1))
        self._contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config={"data": str(folder), "site": node - 1},
                state=RecordDict(),
                run_config=plan.config(),
            )
            for node, folder in enumerate(folders, start=1)
        }

    def set_run(self, run: Run) -> None:
        """Do nothing: there is only one run."""

    @property
    def run(self) -> Run:
        """Not supported."""
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message (Flower's older interface)."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return all sites, including those that never answer."""
        return list(self._apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not supported; use ``send_and_receive``."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not supported; use ``send_and_receive``."""
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Return every site's answer; a failure is an answer with an error, as over the network."""
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            app = self._apps[node]
            if app is None:
                continue
            try:
                replies.append(app(message, self._contexts[node]))
            except Exception as error:  # noqa: BLE001 - a site's failure must not end the others' round
                print(f"site {node - 1}: {error}", file=sys.stderr, flush=True)
                replies.append(Message(Error(code=0, reason="the site failed"), reply_to=message))
        return replies
