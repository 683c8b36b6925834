#!/usr/bin/env python3
"""Prints a CycloneDX 1.5 bill of materials of the program, from Cargo.lock as cargo reads it.

    packaging/sbom.py [TARGET] > edge-advisor.cdx.json

Only what a build for TARGET (default: all) links is listed, with versions, licences, checksums and who needs whom.
"""
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums):
    kind = "application" if package["name"] == "edge-advisor" else "library"
    entry = {
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if package["description"]:
        entry["description"] = " ".join(package["description"].split())
    if package["license"]:
        # Old manifests separate alternatives with a slash, which is no SPDX expression.
        entry["licenses"] = [{"expression": " OR ".join(re.split(r"\s*/\s*", package["license"]))}]
    if package["repository"]:
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    if checksum := checksums.get((package["name"], package["version"])):
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    if len(sys.argv) > 1:
        command += ["--filter-platform", sys.argv[1]]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {p["id"]: p for p in metadata["packages"]}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock}

    # Follow what is linked or builds it; tests' own dependencies are left out.
    needs = {}
    for node in metadata["resolve"]["nodes"]:
        shipped = [d for d in node["deps"] if any(k["kind"] != "dev" for k in d["dep_kinds"])]
        needs[node["id"]] = sorted(d["pkg"] for d in shipped)
    root = metadata["resolve"]["root"]
    seen, todo = {root}, [root]
    while todo:
        for dependency in needs[todo.pop()]:
            if dependency not in seen:
                seen.add(dependency)
                todo.append(dependency)

    order = sorted(seen - {root}, key=lambda i: purl(packages[i]))
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[root], checksums)},
        "components": [component(packages[i], checksums) for i in order],
        "dependencies": [
            {"ref": purl(packages[i]), "dependsOn": [purl(packages[d]) for d in needs[i]]}
            for i in [root, *order]
        ],
    }
    json.dump(bom, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
