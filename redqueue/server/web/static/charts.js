// Depth and rates over time, drawn by uPlot (loaded before the modules, as a script of its own).
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./dom.js";
import { clock, count, rate, short } from "./format.js";
import { query, useLive } from "./api.js";
import { Card, Choices } from "./ui.js";

const uPlot = window.uPlot;
export const RANGES = [["5m", "5 min"], ["3h", "3 h"], ["24h", "24 h"]];

const DEPTH = [
  { key: "ready", label: "Ready", filled: true },
  { key: "reserved", label: "Reserved" },
  { key: "delayed", label: "Delayed" },
];
const RATES = [
  { key: "put_rate", label: "In", tone: "in", filled: true },
  { key: "delivered_rate", label: "Out", tone: "out" },
  { key: "acknowledged_rate", label: "Acknowledged", tone: "acknowledged" },
];
const COLUMNS = ["time", "ready", "reserved", "delayed", "dead", "put_rate", "delivered_rate", "acknowledged_rate"];

function joined(last, answer) {
  if (!last || last.range !== answer.range || !last.time.length || !answer.is_continued) return answer;
  const newest = answer.time.length ? answer.time[answer.time.length - 1] : last.time[last.time.length - 1];
  const drop = last.time.findIndex((time) => time > newest - answer.seconds);
  const result = { ...answer };
  for (const column of COLUMNS) result[column] = [...last[column].slice(Math.max(0, drop)), ...answer[column]];
  return result;
}

/** The history of a queue or of all, as far back as is chosen; only what is new is asked for. */
export function useHistory(path) {
  const [range, setRange] = useState("5m");
  const ask = useMemo(
    () => (last) => {
      const since = last && last.range === range && last.time.length ? last.time[last.time.length - 1] : undefined;
      return `${path}${query({ range, since })}`;
    },
    [path, range],
  );
  const live = useLive(ask, { every: range === "5m" ? 1500 : 5000, take: joined });
  const [shown, setShown] = useState(null);
  const data = live.data && live.data.range === range ? live.data : shown;
  useEffect(() => {
    if (live.data && live.data.range === range) setShown(live.data);
  }, [live.data, range]);
  return { data, error: live.error, range, setRange };
}

function useColours(names) {
  const [version, setVersion] = useState(0);
  useEffect(() => {
    const changed = () => setVersion((each) => each + 1);
    const media = window.matchMedia("(prefers-color-scheme: dark)");
    const observer = new MutationObserver(changed);
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    media.addEventListener("change", changed);
    return () => {
      observer.disconnect();
      media.removeEventListener("change", changed);
    };
  }, []);
  return useMemo(() => {
    const probe = document.createElement("i");
    document.body.append(probe);
    const found = {};
    for (const name of names) {
      probe.style.color = `var(--${name})`;
      found[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    return found;
  }, [version]);
}

function faded(colour, alpha) {
  const parts = colour.match(/[\d.]+/g);
  return parts ? `rgba(${parts.slice(0, 3).join(", ")}, ${alpha})` : colour;
}

function Chart({ title, series, data, format }) {
  const place = useRef(null);
  const plot = useRef(null);
  const [hover, setHover] = useState(null);
  const [hidden, setHidden] = useState(() => new Set());
  const colours = useColours(["grid", "faint", ...series.map((each) => each.tone || each.key)]);
  const columns = data ? ["time", ...series.map((each) => each.key)].map((key) => data[key]) : null;
  const latest = columns && columns[0].length - 1;

  useLayoutEffect(() => {
    const holder = place.current;
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: colours.faint, font, grid: { stroke: colours.grid, width: 1 }, ticks: { show: false } };
    const options = {
      width: Math.max(80, holder.clientWidth),
      height: 168,
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
      scales: {
        x: { time: true },
        y: { range: (_, __, most) => [0, uPlot.rangeNum(0, Math.max(most || 0, 1), 0.1, true)[1]] },
      },
      axes: [
        { ...axis, size: 26, gap: 4, grid: { show: false }, space: 90, values: (_, splits, __, ___, step) => splits.map((at) => (step >= 60 ? clock(at).slice(0, 5) : clock(at))) },
        { ...axis, size: 48, gap: 6, space: 30, values: (_, splits) => splits.map(short) },
      ],
      series: [
        {},
        ...series.map((each) => {
          const colour = colours[each.tone || each.key];
          return {
            stroke: colour,
            width: 1.5,
            fill: each.filled ? faded(colour, 0.12) : undefined,
            points: { show: false },
            show: !hidden.has(each.key),
          };
        }),
      ],
      hooks: { setCursor: [(self) => setHover(self.cursor.idx ?? null)] },
    };
    plot.current = new uPlot(options, columns || [[], ...series.map(() => [])], holder);
    const observer = new ResizeObserver(() => {
      plot.current?.setSize({ width: Math.max(80, holder.clientWidth), height: 168 });
    });
    observer.observe(holder);
    return () => {
      observer.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [colours, hidden]);

  useLayoutEffect(() => {
    if (!columns || !columns[0].length) return;
    const end = columns[0][latest];
    plot.current.batch(() => {
      plot.current.setData(columns, false);
      plot.current.setScale("x", { min: end - data.seconds, max: end });
    });
  }, [data, colours, hidden]);

  const at = columns && hover !== null && hover <= latest ? hover : latest;
  const values = series.map((each, i) => (columns && latest >= 0 ? columns[i + 1][at] : null));
  const toggle = (key) => {
    const next = new Set(hidden);
    if (!next.delete(key)) next.add(key);
    setHidden(next);
  };
  const said = series.map((each, i) => `${each.label} ${values[i] === null ? "unknown" : format(values[i])}`).join(", ");
  return html`<figure class="chart">
    <figcaption>
      <h3>${title}</h3>
      <span class="chart-when">${columns && latest >= 0 && hover !== null ? clock(columns[0][at]) : ""}</span>
      <span class="legend">
        ${series.map(
          (each, i) => html`<button
            type="button"
            key=${each.key}
            class="legend-entry"
            aria-pressed=${hidden.has(each.key) ? "false" : "true"}
            title=${hidden.has(each.key) ? "Show this line" : "Hide this line"}
            onClick=${() => toggle(each.key)}
          ><i class=${`swatch ${each.tone || each.key}`} aria-hidden="true"></i>${each.label}
            <b>${values[i] === null || values[i] === undefined ? "–" : format(values[i])}</b></button>`,
        )}
      </span>
    </figcaption>
    <div class="plot" ref=${place} role="img" aria-label=${`${title}: ${said}`}></div>
  </figure>`;
}

/** Both charts, with a choice of how far back they reach. */
export function Charts({ past }) {
  const { data, error, range, setRange } = past;
  const choices = html`<${Choices} label="How far back" options=${RANGES} value=${range} onChange=${setRange} name="range" />`;
  const said = error && error.status !== 404 ? error.message : data && data.time.length < 2 ? "the first figures come in a moment" : "";
  return html`<${Card} title="Over time" note=${said} id="over-time" actions=${choices} className="charts" tight>
    <div class="charts-pair">
      <${Chart} title="Items" series=${DEPTH} data=${data} format=${count} />
      <${Chart} title="Items per second" series=${RATES} data=${data} format=${rate} />
    </div>
  <//>`;
}
