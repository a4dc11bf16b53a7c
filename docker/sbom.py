"""Software bill of materials of the Python packages that ship: ``python docker/sbom.py FILE`` writes CycloneDX JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = frozenset({"openvino", "s3", "training"})
"""Optional dependencies of lungnode that an installation may have."""


def runtime_closure(name: str = "lungnode", extras: frozenset[str] = EXTRAS) -> Iterator[tuple[Distribution, set[str]]]:
    """Yield every installed distribution that installing ``name`` brings, with the names that it requires itself.

    Distributions for other platforms, which are not installed, are left out.
    """
    waiting, visited = [(name, extras)], set[tuple[str, frozenset[str]]]()
    while waiting:
        key = waiting.pop()
        if key in visited:
            continue
        visited.add(key)
        try:
            installed = distribution(key[0])
        except PackageNotFoundError:
            continue
        required = [
            requirement
            for requirement in map(Requirement, installed.requires or ())
            if requirement.marker is None
            or any(requirement.marker.evaluate({"extra": extra}) for extra in key[1] | {""})
        ]
        waiting += [(requirement.name, frozenset(requirement.extras)) for requirement in required]
        yield installed, {canonicalize_name(requirement.name) for requirement in required}


def licences(installed: Distribution) -> list[str]:
    """Return the licences that a distribution states: its expression, or its classifiers and short licence field."""
    metadata = installed.metadata
    if expression := metadata.get("License-Expression"):
        return [expression]
    classifiers = [
        text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier") or () if text.startswith("License :: ")
    ]
    field = metadata.get("License")
    return classifiers or ([field.strip()] if field and len(field) < 200 else [])


def bill_of_materials(closure: Iterable[tuple[Distribution, set[str]]]) -> Bom:
    """Return the CycloneDX document of distributions; the first is the application."""
    components: dict[str, Component] = {}
    requires: dict[str, set[str]] = {}
    factory = LicenseFactory()
    for installed, required in closure:
        name = canonicalize_name(installed.metadata["Name"])
        requires.setdefault(name, set()).update(required)
        url = PackageURL("pypi", name=name, version=installed.version)
        stated = licences(installed)
        stated_licences = (
            [factory.make_from_string(stated[0])] if len(stated) == 1 else map(factory.make_with_name, stated)
        )
        components.setdefault(
            name,
            Component(
                type=ComponentType.LIBRARY if components else ComponentType.APPLICATION,
                name=name,
                version=installed.version,
                purl=url,
                bom_ref=url.to_string(),
                licenses=stated_licences,
            ),
        )
    root, *others = components.values()
    bom = Bom(components=others)
    bom.metadata.component = root
    for name, component in components.items():
        bom.register_dependency(component, [components[one] for one in sorted(requires[name]) if one in components])
    return bom


def main(path: Path) -> None:
    """Write the bill of materials of this environment to ``path``."""
    outputter = make_outputter(bill_of_materials(runtime_closure()), OutputFormat.JSON, SchemaVersion.V1_6)
    path.write_text(outputter.output_as_string(indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python docker/sbom.py FILE")
    main(Path(sys.argv[1]))
