// <slipway-chart data-chart="…"> draws what chart.go wrote, with uPlot. The numbers are
// in the attribute: when the page is renewed and they differ, the drawing is changed
// in place. Colours are the page's, read again when its theme changes.
"use strict";
(() => {
  const HEIGHTS = { "": 208, tall: 288, low: 128 };
  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2419200];
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const NARROW = 46, LABELS = 18, EDGE = 26; // of the y axis at least, above the drawing for the marks, beside it for the last time
  const charts = new Set();

  const read = (text) => {
    const d = JSON.parse(text);
    const length = Math.max(0, ...d.s.map((s) => s[3].length), d.b ? d.b[2].length : 0);
    const times = Array.from({ length }, (_, i) => d.f + i * d.d);
    return {
      unit: d.u ?? "", from: d.f, to: Math.max(d.e, d.f + 1), offset: d.z ?? 0, zone: d.n ?? "UTC", size: d.h ?? "", top: d.y ?? 0,
      series: d.s.map(([name, ink, form]) => ({ name, ink, form })),
      band: d.b ? { name: d.b[0], ink: d.b[1] } : null,
      marks: (d.m ?? []).map(([at, text, kind]) => ({ at, text, kind })),
      columns: [times, ...d.s.map((s) => s[3]), ...(d.b ? [d.b[3], d.b[2]] : [])],
      none: d.s.every((s) => s[3].every((v) => v === null)),
    };
  };

  // Two charts of one shape differ in their numbers only.
  const shape = (d) => JSON.stringify([d.unit, d.size, d.top, d.offset, d.series, d.band]);

  // The time of the server, whatever zone the browser is in.
  const wall = (second, offset) => new Date((second + offset) * 1000).toISOString();
  const timeText = (second, d) => wall(second, d.offset).slice(11, 19);
  const dayText = (second, d) => {
    const [, month, day] = wall(second, d.offset).slice(0, 10).split("-");
    return `${Number(day)} ${MONTHS[Number(month) - 1]}`;
  };

  const amount = (value, unit) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    const digits = size === 0 || size >= 9.95 ? 0 : size >= 0.095 ? 1 : 2;
    const text = value.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d))/g, digits ? "$&" : "\u2009");
    return unit ? `${text}\u00a0${unit}` : text;
  };
  // On the axis long units would cost more room than they say: they stand in the title.
  const tick = (value, step, unit) => {
    let digits = 0; // as many as tell the step: one of 0.025 has three
    while (digits < 4 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits++;
    const text = value >= 10000 ? `${+(value / 1000).toFixed(1)}k` : value.toFixed(digits);
    return unit.length <= 2 && unit ? `${text} ${unit}` : text;
  };

  const splitTimes = (d) => (u, axis, min, max, step) => {
    const out = [];
    for (let at = Math.ceil((min + d.offset) / step) * step - d.offset; at <= max; at += step) out.push(at);
    return out;
  };
  const nameTimes = (d) => (u, splits, axis, space, step) => splits.map((at) => {
    const text = wall(at, d.offset);
    if (step >= 86400 || (text.slice(11, 16) === "00:00" && d.to - d.from > 86400)) return dayText(at, d);
    return step < 60 ? text.slice(11, 19) : text.slice(11, 16);
  });
  // As wide as its widest label, so that none is cut, and never narrower than NARROW, so
  // that charts below each other line up.
  const widest = (u, values, i, cycle) => {
    const axis = u.axes[i];
    if (cycle > 1) return axis._size;
    let width = 0;
    u.ctx.save();
    u.ctx.font = axis.font[0];
    for (const text of values ?? []) width = Math.max(width, u.ctx.measureText(text).width / uPlot.pxRatio);
    u.ctx.restore();
    return Math.ceil(Math.max(NARROW, width) + axis.ticks.size + axis.gap + 4);
  };
  const fromZero = (d) => (u, low, high) => {
    if (d.top > 0) return [0, d.top];
    const top = Math.max(0, high ?? 0), bottom = Math.min(0, low ?? 0);
    return top === 0 && bottom === 0 ? [0, 1] : [bottom * 1.08, top * 1.08];
  };

  class SlipwayChart extends HTMLElement {
    static observedAttributes = ["data-chart"];
    #plot = null;
    #data = null;
    #shape = "";
    #inks = {};
    #legend = null;
    #sizes = null;

    connectedCallback() {
      charts.add(this);
      this.#sizes = new ResizeObserver(() => this.#fit());
      this.#sizes.observe(this);
      this.renew();
    }
    disconnectedCallback() {
      charts.delete(this);
      this.#sizes?.disconnect();
      queueMicrotask(() => { if (!this.isConnected) this.#end(); });
    }
    connectedMoveCallback() { /* moved by a morph: nothing to build again */ }
    attributeChangedCallback() { if (this.isConnected) this.renew(); }

    // renew draws the numbers as they are now.
    renew() {
      let next;
      try {
        next = read(this.dataset.chart);
      } catch {
        return; // the table says what there is
      }
      const now = shape(next);
      this.#data = next;
      if (!this.#plot || now !== this.#shape) {
        this.#shape = now;
        this.#build();
        return;
      }
      Object.assign(this.#plot.slipway, next);
      this.#plot.batch(() => {
        this.#plot.setData(next.columns, false);
        this.#plot.setScale("x", { min: next.from, max: next.to });
      });
      this.#tell();
    }

    // recolour draws with the colours of another theme.
    recolour() { if (this.#data) this.#build(); }

    #end() {
      this.#plot?.destroy();
      this.#plot = null;
    }

    #fit() {
      const width = this.clientWidth;
      if (this.#plot && width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHTS[this.#data.size] ?? HEIGHTS[""] });
      else if (!this.#plot && width > 0) this.renew();
    }

    // ink resolves a token of the page to a colour that a canvas understands.
    #ink(name, alpha = 1) {
      const key = `${name}/${alpha}`;
      if (this.#inks[key]) return this.#inks[key];
      const probe = document.createElement("span");
      probe.style.color = `var(--${name}, currentColor)`;
      this.append(probe);
      const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g);
      probe.remove();
      return (this.#inks[key] = `rgb(${r} ${g} ${b} / ${alpha})`);
    }

    #build() {
      const width = this.clientWidth;
      if (!width) return; // in a closed <details>: drawn when it opens
      this.#end();
      this.#inks = {};
      this.#legend = document.createElement("ul");
      this.#legend.className = "legend";
      this.replaceChildren(this.#legend);
      const d = { ...this.#data };
      const plot = new uPlot(this.#options(d, width), d.columns, this);
      plot.slipway = d;
      this.#plot = plot;
      this.#tell();
    }

    #options(d, width) {
      const font = `11px ${getComputedStyle(this).fontFamily}`;
      const axis = { stroke: this.#ink("dim"), font, grid: { stroke: this.#ink("line"), width: 1 }, ticks: { show: true, stroke: this.#ink("line"), width: 1, size: 4 }, gap: 5 };
      const stepped = uPlot.paths.stepped({ align: 1 });
      const lines = d.series.map((s) => s.form === "steps"
        ? { label: s.name, stroke: this.#ink(s.ink), width: 1.5, fill: this.#ink(s.ink, .22), paths: stepped, points: { show: false } }
        : { label: s.name, stroke: this.#ink(s.ink), width: 1.75, points: { size: 4, fill: this.#ink(s.ink) } });
      const edge = { stroke: null, width: 0, points: { show: false } };
      const first = 1 + d.series.length;
      return {
        width, height: HEIGHTS[d.size] ?? HEIGHTS[""],
        padding: [d.marks.length ? LABELS : 8, EDGE, 0, 0],
        series: [{}, ...lines, ...(d.band ? [edge, edge] : [])],
        bands: d.band ? [{ series: [first, first + 1], fill: this.#ink(d.band.ink, .2) }] : [],
        scales: { x: { time: true, range: () => [this.#data.from, this.#data.to] }, y: { range: fromZero(d) } },
        axes: [
          { ...axis, space: 64, size: 26, incrs: STEPS, splits: splitTimes(d), values: nameTimes(d), grid: { show: false } },
          { ...axis, space: 34, size: widest, ticks: { ...axis.ticks, show: false, size: 0 }, values: (u, splits, i, space, step) => splits.map((v) => (this.#data.none ? "" : tick(v, step, d.unit))) },
        ],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { size: 7, width: 2, fill: this.#ink("card"), stroke: (u, i) => u.series[i]._stroke ?? this.#ink("dim") }, sync: { key: "slipway", scales: ["x", null], setSeries: false }, dataIdx: (u, i, at) => (i > d.series.length ? null : at) },
        hooks: { draw: [(u) => this.#marks(u), (u) => this.#nothing(u)], setCursor: [() => this.#tell()] },
      };
    }

    // marks draws the moments above and across the lines; a label that would lie on
    // another is left out, a rollback's last.
    #marks(u) {
      const { ctx, bbox } = u;
      const ratio = uPlot.pxRatio;
      const taken = [];
      const marks = [...u.slipway?.marks ?? this.#data.marks].sort((a, b) => (b.kind === "back") - (a.kind === "back"));
      ctx.save();
      ctx.font = `${11 * ratio}px ${getComputedStyle(this).fontFamily}`;
      ctx.textAlign = "center";
      ctx.textBaseline = "bottom";
      for (const mark of marks) {
        if (mark.at < u.scales.x.min || mark.at > u.scales.x.max) continue;
        const back = mark.kind === "back";
        const x = Math.round(u.valToPos(mark.at, "x", true));
        ctx.strokeStyle = ctx.fillStyle = this.#ink(back ? "bad" : "run");
        ctx.lineWidth = (back ? 3 : 1) * ratio;
        ctx.setLineDash(back ? [] : [4 * ratio, 3 * ratio]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        const half = ctx.measureText(mark.text).width / 2;
        const at = Math.min(Math.max(x, bbox.left + half), ctx.canvas.width - half); // clear of both axes' labels
        if (taken.some(([from, to]) => at - half < to + 6 * ratio && at + half > from - 6 * ratio)) continue;
        taken.push([at - half, at + half]);
        ctx.fillText(mark.text, at, bbox.top - 3 * ratio);
      }
      ctx.restore();
    }

    // nothing says that there are no numbers, which a line at zero would not.
    #nothing({ ctx, bbox }) {
      if (!this.#data.none) return;
      ctx.save();
      ctx.font = `${13 * uPlot.pxRatio}px ${getComputedStyle(this).fontFamily}`;
      ctx.textAlign = "center";
      ctx.textBaseline = "middle";
      ctx.fillStyle = this.#ink("dim");
      ctx.fillText("no numbers yet", bbox.left + bbox.width / 2, bbox.top + bbox.height / 2);
      ctx.restore();
    }

    // tell writes the legend: what each line is and, under the cursor, what it was then.
    #tell() {
      const u = this.#plot;
      if (!u) return;
      const d = this.#data;
      const at = u.cursor.left >= 0 ? u.cursor.idx : null;
      const entries = d.series.map((s, i) => {
        const li = this.#entry(s.ink, s.form === "steps" ? "is-bar" : "", s.name + (d.band?.ink === s.ink ? ` (band: ${d.band.name})` : ""));
        if (at != null) {
          const b = document.createElement("b");
          b.textContent = amount(d.columns[i + 1][at], d.unit);
          li.append(b);
        }
        return li;
      });
      if (at == null && d.marks.some((m) => m.kind !== "back")) entries.push(this.#entry("run", "is-mark", "step"));
      if (at == null && d.marks.some((m) => m.kind === "back")) entries.push(this.#entry("bad", "is-bar", "rolled back"));
      const when = document.createElement("li");
      when.className = "at";
      when.textContent = at == null ? d.zone : `${timeText(d.columns[0][at], d)} ${d.zone}`;
      this.#legend.replaceChildren(...entries, when);
    }

    #entry(ink, look, text) {
      const li = document.createElement("li");
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      svg.setAttribute("class", "key");
      svg.setAttribute("viewBox", "0 0 16 8");
      svg.setAttribute("aria-hidden", "true");
      path.setAttribute("d", "M0 4h16");
      path.setAttribute("class", `ink-${ink} ${look}`);
      svg.append(path);
      li.append(svg, text);
      return li;
    }
  }
  customElements.define("slipway-chart", SlipwayChart);

  const recolour = () => { for (const chart of charts) chart.recolour(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  matchMedia("print").addEventListener("change", recolour);
  new MutationObserver(recolour).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
})();
