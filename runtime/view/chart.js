// The latency chart: one column per frame, in the colour of what became of it, against the deadline.

const FRAMES = 300;

/** Value that `share` (0..1) of the sorted `values` do not exceed; null where fewer than ten are slower. */
export function percentile(values, share) {
  const slower = Math.floor(values.length * (1 - share) + 1e-9);
  return slower < 10 ? null : values[values.length - 1 - slower];
}

export class LatencyChart {
  /** @param {HTMLCanvasElement} canvas @param {(state: string) => string} colorOf */
  constructor(canvas, colorOf) {
    this.canvas = canvas;
    this.colorOf = colorOf;
    this.outcomes = [];
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Forget all frames. */
  clear() { this.outcomes = []; }

  /** Take `[number, state, latency_ms, deadline_ms]` of newer frames. */
  add(outcomes) {
    this.outcomes.push(...outcomes);
    this.outcomes.splice(0, this.outcomes.length - FRAMES);
  }

  /** Latencies of the frames shown, sorted, milliseconds. */
  sorted() {
    return this.outcomes.map((outcome) => outcome[2]).filter((ms) => ms !== null).sort((a, b) => a - b);
  }

  get deadline() {
    return this.outcomes.length ? this.outcomes[this.outcomes.length - 1][3] : null;
  }

  draw() {
    const { width, height, context } = this.fitted();
    const style = getComputedStyle(this.canvas);
    const [soft, line, bad] = ["--soft", "--line", "--bad"].map((name) => style.getPropertyValue(name));
    const top = this.top();
    const left = 34, base = height - 4, span = base - 8;
    const y = (ms) => base - Math.min(ms / top, 1) * span;
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const ms of [0, top / 2, top]) {
      context.fillStyle = line;
      context.fillRect(left, Math.round(y(ms)), width - left, 1);
      context.fillStyle = soft;
      context.fillText(String(ms), left - 6, Math.min(y(ms), height - 6));
    }
    this.drawFrames(context, left, width, base, y, top);
    this.drawDeadline(context, left, width, y, bad);
  }

  drawFrames(context, left, width, base, y, top) {
    const step = (width - left) / FRAMES;
    const first = FRAMES - this.outcomes.length;
    this.outcomes.forEach(([, state, ms], index) => {
      // Columns end where the next one begins, on whole pixels: no stripes between them.
      const x = Math.floor(left + (first + index) * step);
      const wide = Math.max(Math.floor(left + (first + index + 1) * step) - x, 1);
      context.fillStyle = this.colorOf(state);
      const above = ms === null ? base - 4 : y(ms);
      context.fillRect(x, above, wide, base - above);
      // Frames beyond the scale wear a cap, so that cutting them off shows.
      if (ms !== null && ms > top) context.fillRect(x - 1, 0, wide + 2, 4);
    });
  }

  drawDeadline(context, left, width, y, color) {
    if (this.deadline === null) return;
    const at = Math.round(y(this.deadline)) + 0.5;
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(left, at);
    context.lineTo(width, at);
    context.stroke();
    context.setLineDash([]);
  }

  /** Upper end of the scale: a round number above the deadline and nearly all frames. */
  top() {
    const values = this.sorted();
    const usual = values.length ? values[Math.floor((values.length - 1) * 0.98)] : 0;
    const least = Math.max(usual * 1.15, (this.deadline ?? 0) * 1.3, 4);
    const unit = 10 ** Math.floor(Math.log10(least));
    return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * unit).find((value) => value >= least);
  }

  fitted() {
    const ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { width, height, context };
  }
}
