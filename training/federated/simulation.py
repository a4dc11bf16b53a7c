"""A federation within one process, for experiments: the very apps and strategies, without network or processes."""

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
    """Hands each message to the site's ClientApp at once and gathers what it answers.

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
        """There is only one."""

    @property
    def run(self) -> Run:
        """Not needed within a process."""
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Of Flower's older interface."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """All sites, those that never answer too."""
        return list(self._apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Only whole rounds are run here."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Only whole rounds are run here."""
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Every site's answer, one after another; a failure is an answer with an error, as over the network."""
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
