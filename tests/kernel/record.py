"""Record the running kernel's answers for test_recorded.py. Needs root: python tests/kernel/record.py"""

import json
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from kernel import cases, recorder


def main():
    folder = Path(__file__).with_name("recorded")
    folder.mkdir(exist_ok=True)
    for name in cases.RULES:
        rules = cases.rules_text(name)
        kernel = recorder.Namespace(cases.INTERFACES, cases.ROUTES, rules, cases.SETS)
        packets = []
        try:
            for iface, packet in cases.traffic():
                out = kernel.pass_packet(iface, bytes(packet))
                packets.append([iface, bytes(packet).hex(), out[1].hex() if out else None])
        finally:
            kernel.close()
        case = {"kernel": platform.release(), "rules": rules, "packets": packets}
        (folder / f"{name.replace(' ', '_')}.json").write_text(json.dumps(case, indent=0) + "\n")
        print(f"{name}: {len(packets)} packets")


if __name__ == "__main__":
    main()
