"""Record the running kernel's answers for test_recorded.py. Needs root: python tests/kernel/record.py [CASE...]"""

import json
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from kernel import cases, recorder


def main():
    folder = Path(__file__).with_name("recorded")
    folder.mkdir(exist_ok=True)
    for name in sys.argv[1:] or cases.CASES:
        case = cases.CASES[name]
        kernel = recorder.Namespace(case)
        try:
            talk = cases.conversation(case, kernel)
            packets = [[iface, data.hex(), out.hex() if out else None] for _, iface, data, out in talk]
        finally:
            kernel.close()
        record = {"kernel": platform.release(), "rules": case.rules, "packets": packets}
        (folder / f"{name.replace(' ', '_')}.json").write_text(json.dumps(record, indent=0) + "\n")
        print(f"{name}: {len(packets)} packets")


if __name__ == "__main__":
    main()
