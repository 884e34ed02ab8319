"""All measurements of `make bench`, one after the other; run it when nothing else runs on the machine."""

import importlib.util
from pathlib import Path

PARTS = ("start", "viterbi", "scoring", "loop", "mae", "features")


def main() -> None:
    """Run every part."""
    for part in PARTS:
        path = Path(__file__).with_name(f"bench_{part}.py")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main()


if __name__ == "__main__":
    main()
