"""The pictures of --plot: titles, named axes with units, round ticks; nothing clipped, no key on the data."""

from itertools import combinations

import pytest
from click.testing import CliRunner
from nodes import SWEEP

from fastnat.cli import group
from fastnat.exhaustion import plots

Text = pytest.importorskip("matplotlib.text", reason="needs matplotlib").Text

MANY = "ports=1024-1500:1024-2500,addresses=1:2,random-fully"
DUMP = (
    "udp 17 29 src=10.244.1.1 dst=2.2.2.2 sport={0} dport=53 "
    "src=2.2.2.2 dst=198.51.100.10 sport=53 dport={0} mark=0 use=1\n"
)
COMMANDS = {
    "run": f"exhaust --flows 3k --vary {MANY} --seeds 1",
    "destinations": "exhaust --flows 3k --rate 1k/s --dst 203.0.113.0/29:443 --clients 9 --vary ports=1024-2000",
    "nothing fails": "exhaust --flows 2k --vary addresses=2",
    "plan": "plan --rate 20/s --hold 2",
    "sweep": "sweep s.toml --jobs 1",
    "ports": "top dump",
}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Return the figures that a command draws."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(SWEEP)
    (tmp_path / "dump").write_text("".join(DUMP.format(port) for port in range(1024, 9000, 7)))
    kept, save = [], plots._save

    def keep(figure, file):
        kept.append(figure)
        save(figure, file)

    monkeypatch.setattr(plots, "_save", keep)

    def draw(command):
        result = CliRunner().invoke(group, [*command.split(), "--plot", "picture.png"])
        assert result.exit_code in (0, 1), (command, result.output, result.exception)
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
        (figure,) = kept
        return figure

    return draw


def boxes_of(figure):
    """Return every text of a picture with its place [pixels]."""
    figure.draw_without_rendering()
    # a key's are found twice
    found = {id(t): t for t in figure.findobj(Text)}
    texts = [t for t in found.values() if t.get_text().strip() and t.get_visible()]
    # ticks beyond the ends of an axis are not drawn
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if not is_beyond(t)]
    return [(said, box) for said, box in boxes if box.width and box.height]


def is_beyond(text):
    """Tell whether a text is a tick's that lies outside the limits of its axis."""
    for axes in text.figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            for tick in ticks:
                if text in (tick.label1, tick.label2):
                    return not min(limits) <= tick.get_loc() <= max(limits)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_picture_is_whole(name, drawn):
    figure = drawn(COMMANDS[name])
    assert figure.get_suptitle()
    for axes in figure.axes:
        named = axes.get_label() == "<colorbar>" or (axes.get_xlabel() and axes.get_ylabel() and axes.get_title("left"))
        assert named, axes
    boxes = boxes_of(figure)
    page = figure.bbox
    for said, box in boxes:
        inside = box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 and box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1
        assert inside, said
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (one, other)
    for key in figure.legends:
        for axes in figure.axes:
            assert not axes.get_window_extent().overlaps(key.get_window_extent())
    assert all(axes.get_legend() is None for axes in figure.axes)


@pytest.mark.slow
def test_lines_of_a_picture_differ_in_more_than_colour(drawn):
    figure = drawn(COMMANDS["run"])
    lines = figure.axes[1].get_lines()
    assert len(lines) == 8
    assert len({(line.get_linestyle(), str(line.get_marker())) for line in lines}) == 8
    assert figure.axes[0].get_yscale() == "symlog"
