"""Settings of models and analysis workers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from lungnode.settings.section import Section


class ModelSettings(Section):
    """Models and the device that they run on."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a CUDA device where there is one, of several the one with the most free memory."""
    engine: Literal[
        "auto",
        "openvino-int8",
        "openvino-bfloat16",
        "openvino-float32",
        "torch-compiled",
        "torch-bfloat16",
        "torch-float32",
    ] = "auto"
    """Inference engine; `auto` takes the fastest installed one that the bundle was validated with."""
    variant: Literal["ensemble", "planar", "volumetric"] = "ensemble"
    """Nodule networks that produce the reported result: all together, the 2D one, or the 3D ones; others are logged."""
    bundle: Path | None = None
    """Folder of a model bundle, or of bundles named `nodule`, `filter`, `slice`; unset means the shipped ones."""
    cache: Path | None = None
    """Folder for networks converted to OpenVINO, which makes later starts fast; unset: `cache/networks` in HOME."""
    shadow_bundle: Path | None = None
    """Folder of a second nodule bundle, run in shadow mode (docs/adr/0021)."""


class WorkerSettings(Section):
    """The analysis workers."""

    concurrency: int = Field(default=1, ge=1)
    """Series analysed at once by a worker; one saturates two cores or a GPU. The same for all that share a database."""
    executor_id: str = Field(default="worker-1", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Fixed name of this worker; must be unique. It resumes its own interrupted jobs."""
    heartbeat_timeout_s: float = Field(default=60.0, ge=15)
    """Seconds without a heartbeat after which another worker takes over this one's jobs."""
    queue_version: str = Field(default="analysis-1", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Workers with the same value share jobs, whatever their release; another value separates a group of workers."""
    timeout_s: float = Field(default=900.0, gt=0)
    """Wall-clock limit of decoding and analysing one series; past it the attempt counts as failed."""
    memory_mb: int = Field(default=6144, ge=512)
    """Address-space limit, in MiB, of the child process that decodes untrusted datasets. Compressed slices are
    decoded in parallel, in as many processes as it may use cores, while each has 768 MiB of the limit."""
