"""Which step a name in the C that Cython makes stands for."""

from pathlib import Path

CORE = Path(__file__).resolve().parents[1] / "fastnat/core"


def places(names):
    """Return by name where in core the files are; Cython names some from the folder that imported them first."""
    there = {str(p.relative_to(CORE)) for kind in ("*.pxd", "*.pyx") for p in CORE.rglob(kind)}
    short = {name: name.removeprefix("fastnat/core/").replace("datapath6", "datapath") for name in names}
    found = {name: path for name, path in short.items() if path in there}
    for name in short.keys() - found.keys():
        fits = [p for p in there - set(found.values()) if p.endswith(f"/{name}")]
        if len(fits) == 1:
            found[name] = fits[0]
    return found
