"""Harmful sites for robustness tests, as Flower mods."""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MessageType
from flwr.clientapp.typing import ClientAppCallable, Mod


def reversed_update(times: float) -> Mod:
    """Mod that sends the joint weights minus ``times`` the own update."""

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        joint = _arrays(message)
        reply = call_next(message, context)
        if message.metadata.message_type.startswith(MessageType.TRAIN) and not reply.has_error():
            own = _arrays(reply)
            reply.content["arrays"] = _record({k: joint[k] - times * (own[k] - joint[k]) for k in own})
        return reply

    return mod


def broken_update() -> Mod:
    """Mod that sends NaN weights."""

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        reply = call_next(message, context)
        if message.metadata.message_type.startswith(MessageType.TRAIN) and not reply.has_error():
            reply.content["arrays"] = _record({k: np.full_like(v, np.nan) for k, v in _arrays(reply).items()})
        return reply

    return mod


def _arrays(message: Message) -> dict[str, np.ndarray[Any, Any]]:
    return {k: np.array(v.numpy()) for k, v in message.content["arrays"].items()}


def _record(arrays: dict[str, np.ndarray[Any, Any]]) -> ArrayRecord:
    return ArrayRecord({k: Array(v.astype(np.float32)) for k, v in arrays.items()})
