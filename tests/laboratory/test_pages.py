"""Every page of a command in a browser: wide and narrow, light and dark, on paper; nothing clipped, no error."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from nodes import SWEEP

from fastnat.cli import group
from fastnat.exhaustion.chart import MOST_POINTS, Axis, Line, Scale, exactly, figure, step_of, thinned

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MEASURE = (Path(__file__).parent / "pages.js").read_text()
# width of the window [px], its colours, and whether it is a sheet of paper
VIEWS = [
    (1280, "light", False),
    (1280, "dark", False),
    (400, "light", False),
    (400, "dark", False),
    (700, "dark", True),
]
TWELVE = "ports=1024-1500:1024-2500:1024-4500,addresses=1:2,random-fully,profile=linux-6.18:linux-5.4"
COMMANDS = {
    "demo": "exhaust",
    "nothing fails": "exhaust --flows 2k",
    "one variant": "exhaust --flows 3k --vary ports=1024-2000 --replies --rate 1k/s --hold 1s",
    "many variants over hours": f"exhaust --flows 3k --rate 6/min --clients 40 --vary {TWELVE} --seeds 1",
    "milliseconds": "exhaust --flows 3k --rate 1M/s --dst 203.0.113.9:443 --dst 203.0.113.8:443 --vary ports=1024-2000",
    "plan": "plan --rate 2k/s --hold exp:5 --profile linux-5.4",
    "clouds": "plan --rate 3k/s --hold 2s --cloud all",
    "cloud": "plan --rate 30k/s --hold 20s --cloud aws-nat-gateway",
    "sweep": "sweep s.toml --jobs 1",
}


def page_of(command, folder, monkeypatch):
    """Return the page that a command prints."""
    monkeypatch.chdir(folder)
    (folder / "s.toml").write_text(SWEEP)
    result = CliRunner().invoke(group, [*command.split(), "-o", "html"])
    assert not result.exception or isinstance(result.exception, SystemExit), (command, result.exception)
    assert result.exit_code in (0, 1), (command, result.output)
    return result.stdout


def faults_of(page, folder):
    """Return what a browser finds wrong with a page, by view, and what it wrote on its console."""
    assert CHROMIUM, "needs chromium: apt-get install --no-install-recommends chromium"
    frames = ""
    for width, scheme, paper in VIEWS:
        shown = page.replace("@media print", "@media all") if paper else page
        # windows of the browser are not as narrow as a telephone
        frames += (
            f'<iframe width="{width}" height="5000" style="border:0;color-scheme:{scheme}" '
            f'srcdoc="{html.escape(shown)}"></iframe>'
        )
    views = json.dumps([(width, scheme == "dark", paper) for width, scheme, paper in VIEWS])
    script = (
        f"{MEASURE}\nonload = async () => {{ const views = {views}, found = [];"
        "for (const [n, frame] of [...document.querySelectorAll('iframe')].entries()) {"
        "await coloured(frame, views[n][1]); found.push(faults(frame, ...views[n])); }"
        "document.body.dataset.said = JSON.stringify(found); };"
    )
    (folder / "frames.html").write_text(f"<!doctype html><meta charset='utf-8'><body>{frames}<script>{script}</script>")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000", f"file://{folder / 'frames.html'}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = re.search(r'data-said="([^"]*)"', done.stdout)
    assert said, done.stderr
    found = dict(zip(VIEWS, json.loads(html.unescape(said[1])), strict=True))
    return {view: f for view, f in found.items() if f}, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_is_whole_in_a_browser(name, tmp_path, monkeypatch):
    page = page_of(COMMANDS[name], tmp_path, monkeypatch)
    # it needs nothing from elsewhere
    assert not re.search(r"(?:src|href|action)=|url\(|@import|fetch\(", page)
    assert faults_of(page, tmp_path) == ({}, [])


@pytest.mark.slow
def test_long_and_hostile_names_break_no_page(tmp_path, monkeypatch):
    page = page_of("exhaust --flows 2k --vary addresses=1:2,ports=1024-1100", tmp_path, monkeypatch)
    name = "addresses=2 ports=1024-1100"
    assert page.count(name) > 5
    for other in ("W" * 300, html.escape("</script><b>\"'&"), "\u0e01" * 80):
        quoted = html.escape(json.dumps(html.unescape(other))[1:-1])
        # within the values for the script text is JSON, elsewhere it is text
        changed = re.sub(r'data-names="[^"]*"', lambda m, quoted=quoted: m[0].replace(name, quoted), page)
        assert faults_of(changed.replace(name, other), tmp_path) == ({}, [])


@pytest.mark.slow
@pytest.mark.parametrize(("what", "instead", "told"), [
    (".scroll{overflow-x:auto}", "", "sticks out"), ("<footer>", "<footer style='width:2000px'>", "wide"),
    ('<text x="4"', '<text x="-9"', "clipped"), ("svg text{font:13px", "svg text{font:40px", "overlap"),
    ("--ink:#1c2330", "--ink:#eeeeee", "hard to read"), ("tip.hidden = false", "", "no values under the pointer"),
    ("prefers-color-scheme:dark", "prefers-color-scheme:none", "not dark"),
    (' stroke-dasharray="9 4"', "", "colour alone"), ("const names =", "let names = nothing;", ""),
])  # fmt: skip
def test_the_measure_finds_faults(what, instead, told, tmp_path, monkeypatch):
    """Each kind of fault, put into a page that is whole."""
    page = page_of(COMMANDS["demo"], tmp_path, monkeypatch)
    assert what in page
    if told == "colour alone":
        page = page.replace('d="M-3.5,-3.5h7v7h-7z"', 'd="M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0"')
    found, console = faults_of(page.replace(what, instead), tmp_path)
    assert any(told in fault for faults in found.values() for fault in faults) if told else console


@pytest.mark.parametrize("high", [1e-9, 0.004, 0.01, 0.99, 1, 1.01, 7, 49, 72_000, 99_999, 1.5e8, 1e18])
@pytest.mark.parametrize("parts", [4, 5, 8])
def test_ticks_are_round_and_few(high, parts):
    step = step_of(high, parts)
    assert f"{step:e}"[:8] in ("1.000000", "2.000000", "5.000000")
    scale = Scale(Axis("x"), [high], parts, up=True)
    assert 2 <= len(scale.ticks) <= parts + 1
    assert scale.ticks[0].at == 0
    assert scale.ticks[-1].at == pytest.approx(1)
    assert scale.at(high) <= 1
    assert len({t.text for t in scale.ticks}) == len(scale.ticks)


@pytest.mark.parametrize(("shares", "texts"), [
    ([0, 0.5], ["0", "10%", "100%"]), ([0, 0.001, 1.0], ["0", "0.1%", "1%", "10%", "100%"]), ([0], ["0", "0.1%", "1%"]),
    ([0.0004, 0.02], ["0", "0.01%", "0.1%", "1%", "10%"]),
])  # fmt: skip
def test_shares_of_failures_are_logarithmic_with_0_at_the_foot(shares, texts):
    scale = Scale(Axis("fail", "log share"), shares, 5, up=True)
    assert [t.text for t in scale.ticks] == texts
    steps = [b.at - a.at for a, b in zip(scale.ticks, scale.ticks[1:], strict=False)]
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert scale.at(0) == 0
    assert scale.ticks[-1].at == pytest.approx(1)


@pytest.mark.parametrize(("seconds", "title"), [
    (0.003, "time [seconds]"), (90, "time [seconds]"), (1200, "time [minutes]"), (30_000, "time [hours]"),
    (1e6, "time [days]"),
])  # fmt: skip
def test_times_are_in_the_unit_that_people_use(seconds, title):
    assert Scale(Axis("time", "time"), [seconds], 8, up=False).title == title


def test_counts_have_whole_ticks():
    assert [t.text for t in Scale(Axis("addresses", "count"), [1, 2], 5, up=True).ticks] == ["0", "1", "2"]


def test_a_long_line_keeps_its_ends_and_its_extremes():
    points = [(float(k), float(k == 7777)) for k in range(100_000)]
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS
    assert {points[0], points[7777], points[-1]} <= set(kept)
    assert kept == sorted(kept)


def test_what_is_left_out_of_a_chart_is_said():
    lines = [Line(f"line {n}", [(0, 0), (1, n)]) for n in range(15)]
    drawn = figure("title", lines, Axis("x"), Axis("y"))
    assert "3 more variants are in the table" in drawn
    assert "line 11" in drawn
    assert "line 12" not in drawn


@pytest.mark.parametrize(("value", "kind", "text"), [
    (0.0004, "log share", "0.04%"), (0.123, "share", "12.3%"), (0, "share", "0%"), (12_345.6, "number", "12,346"),
    (1.5, "time", "1.5 s"),
])  # fmt: skip
def test_values_under_the_pointer(value, kind, text):
    assert exactly(value, kind) == text
