// Waits until a frame has the colours that it was asked for: a browser tells it later than that it is loaded.
async function coloured(frame, dark) {
  for (let n = 0; n < 100 && frame.contentWindow.matchMedia('(prefers-color-scheme: dark)').matches !== dark; n++)
    await new Promise(resolve => setTimeout(resolve, 20));
}

// What is wrong with a page as a browser shows it in a frame of this width, in the dark or not, on paper or not.
function faults(frame, width, dark, paper) {
  const doc = frame.contentDocument, view = frame.contentWindow, found = [];
  const style = e => view.getComputedStyle(e), seen = e => e.getClientRects().length > 0;
  const said = e => `${e.tagName} ${(e.getAttribute('class') || '')} ${e.textContent.slice(0, 40)}`;
  const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
  const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
  const all = [...doc.body.querySelectorAll('*')].filter(e => seen(e) && !['SCRIPT', 'STYLE'].includes(e.tagName));

  if (doc.documentElement.scrollWidth > width) found.push(`the document is ${doc.documentElement.scrollWidth} wide`);
  for (const e of all.filter(e => !e.closest('svg') && style(e).display !== 'inline')) {
    const scrolls = ['auto', 'scroll'].includes(style(e).overflowX);
    if (e.scrollWidth > e.clientWidth + 1 && !scrolls) found.push(`sticks out: ${said(e)}`);
    const box = e.getBoundingClientRect();
    if (!e.closest('.scroll') && (box.left < -1 || box.right > width + 1)) found.push(`outside the window: ${said(e)}`);
  }
  // blocks that follow each other
  for (const parent of [doc.body, ...doc.querySelectorAll('section, figure, .answer, dl, .tiles, .keys')]) {
    const blocks = [...parent.children].filter(seen).map(e => [e, e.getBoundingClientRect()]);
    blocks.forEach(([a, box], n) => blocks.slice(n + 1).forEach(([b, other]) => {
      if (!apart(box, other)) found.push(`overlap: ${said(a)} and ${said(b)}`);
    }));
  }
  for (const svg of [...doc.querySelectorAll('.chart svg')].filter(seen)) {
    const box = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll('text')];
    texts.forEach((t, n) => {
      const mine = t.getBoundingClientRect();
      if (!within(mine, box)) found.push(`clipped: ${said(t)}`);
      if (parseFloat(style(t).fontSize) * box.width / svg.viewBox.baseVal.width < 9) found.push(`too small: ${said(t)}`);
      for (const other of texts.slice(n + 1))
        if (!apart(mine, other.getBoundingClientRect())) found.push(`overlap: ${said(t)} and ${said(other)}`);
    });
    for (const line of svg.querySelectorAll('polyline, .mark'))
      if (!within(line.getBoundingClientRect(), box)) found.push(`clipped: a line of ${said(svg.closest('figure'))}`);
    if (box.width < 0.9 * Math.min(width, doc.body.clientWidth) - 32) found.push(`a chart is only ${box.width} wide`);
  }
  // the values under the pointer are none for paper
  if (paper) doc.querySelectorAll('.tip').forEach(tip => tip.style.display = 'block');
  // exactly one drawing of each chart; its lines differ in more than colour; its values are shown under the pointer
  for (const chart of doc.querySelectorAll('.chart')) {
    const shown = [...chart.querySelectorAll('svg')].filter(seen);
    if (shown.length !== 1) { found.push(`${shown.length} drawings of a chart`); continue; }
    const lines = [...shown[0].querySelectorAll('polyline')];
    const kinds = lines.map((line, n) => line.getAttribute('stroke-dasharray') + line.nextElementSibling.getAttribute('d'));
    if (new Set(kinds).size < lines.length) found.push('lines differ in colour alone');
    const box = shown[0].getBoundingClientRect();
    for (const part of [0.02, 0.5, 0.98]) {
      const at = {clientX: box.left + part * box.width, clientY: box.top + 60, bubbles: true};
      shown[0].dispatchEvent(new view.PointerEvent('pointermove', at));
      const tip = chart.querySelector('.tip');
      if (tip.hidden || tip.textContent.split('\n').length !== lines.length + 1 || /undefined|NaN/.test(tip.textContent))
        found.push(`no values under the pointer: ${tip.textContent}`);
      if (!within({...tip.getBoundingClientRect().toJSON(), top: 0, bottom: 0}, {...box.toJSON(), top: 0, bottom: 0}))
        found.push(`the values stand out of the chart at ${part}`);
    }
    chart.dispatchEvent(new view.PointerEvent('pointerleave'));
    if (!chart.querySelector('.tip').hidden) found.push('the values stay when the pointer has gone');
  }
  // text 4.5 and lines 3 times as bright as what is behind them, or the other way round (WCAG 2)
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const bright = colour => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => style(e).backgroundColor !== 'rgba(0, 0, 0, 0)' ? style(e).backgroundColor : behind(e.parentElement);
  const contrast = (a, b) => (Math.max(bright(a), bright(b)) + 0.05) / (Math.min(bright(a), bright(b)) + 0.05);
  const black = dark && !paper;
  if ((bright(style(doc.body).backgroundColor) < 0.1) !== black) found.push(`the page is not ${black ? 'dark' : 'light'}`);
  for (const e of all.filter(e => [...e.childNodes].some(c => c.nodeType === 3 && c.data.trim()))) {
    const ink = e.closest('svg') ? style(e).fill : style(e).color;
    const back = e.closest('svg') ? style(doc.body).backgroundColor : behind(e);
    if (contrast(ink, back) < 4.5) found.push(`hard to read: ${said(e)}`);
  }
  for (const line of doc.querySelectorAll('polyline'))
    if (seen(line) && contrast(style(line).stroke, style(doc.body).backgroundColor) < 3) found.push('a pale line');
  return [...new Set(found)];
}
