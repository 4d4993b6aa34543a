"""A player that sounds while the audio is still being made.

Gradio's own streaming player wants AAC, and with it ffmpeg. This one is given 16-bit samples as they are. The value
grows: base64 of everything so far, of which Gradio sends only what is new and the page plays only what it has not yet.
"""

import base64
from typing import Any

import gradio as gr

from flowvocoder.audio.files import Samples
from flowvocoder.demo.parts import pcm

_TEMPLATE = """<div class="live"><button type="button" disabled aria-label="Stop">Stop</button>
<div class="bar"><div></div></div><span role="status">Plays here while it is synthesised.</span></div>"""

_STYLE = """
.live { display: flex; align-items: center; gap: 12px; padding: 10px 14px; border-radius: 8px;
  border: 1px solid var(--border-color-primary); background: var(--block-background-fill); flex-wrap: wrap; }
.live button { border: 1px solid var(--border-color-primary); border-radius: 6px; padding: 4px 12px; }
.live button:disabled { opacity: .45; }
.live .bar { flex: 1 1 120px; height: 6px; border-radius: 3px; background: var(--border-color-primary); }
.live .bar div { width: 0; height: 6px; border-radius: 3px; background: #0f766e; }
.live span { font-size: .85rem; color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
"""

_SCRIPT = """
const part = (name) => element.querySelector(name);
let context = null, run = null, played = 0, starts = 0, ends = 0, gaps = 0, stopped = false, timer = null;
const seconds = (value) => value.toFixed(1) + ' s';
const show = () => {
  const value = props.value;
  if (!value || !value.run || !context) return;
  const bar = part('.bar div'), text = part('span'), button = part('button');
  if (!bar) return;
  const made = Math.floor(value.pcm.length * 3 / 4 / 2) / value.rate;
  const at = Math.max(0, Math.min(made, context.currentTime - starts));
  const over = stopped || (value.done && context.currentTime >= ends);
  bar.style.width = (value.seconds ? 100 * (stopped ? 0 : over ? 1 : at / value.seconds) : 0) + '%';
  button.disabled = over;
  text.textContent = stopped ? 'Stopped.' : over ? 'Played ' + seconds(made) + '.'
    : 'Playing ' + seconds(at) + ' of ' + seconds(made) + (value.done ? '' : ' made so far');
  element.dataset.played = made; element.dataset.gaps = gaps; element.dataset.over = over;
  if (over && timer) { clearInterval(timer); timer = null; }
};
const halt = () => { stopped = true; if (context) context.close(); show(); };
element.addEventListener('click', (event) => { if (event.target.closest('button')) halt(); });
watch('value', () => {
  const value = props.value;
  if (!value || !value.run) return;
  if (run !== value.run) {
    if (context && context.state !== 'closed') context.close();
    context = new AudioContext(); run = value.run; played = 0; gaps = 0; stopped = false;
    starts = ends = context.currentTime + 0.1;
    if (!timer) timer = setInterval(show, 100);
  }
  const fresh = value.pcm.length - value.pcm.length % 4;
  if (!stopped && fresh > played) {
    const bytes = Uint8Array.from(atob(value.pcm.slice(played, fresh)), (letter) => letter.charCodeAt(0));
    played = fresh;
    const samples = new Int16Array(bytes.buffer, 0, bytes.length >> 1);
    const buffer = context.createBuffer(1, samples.length, value.rate);
    buffer.getChannelData(0).set(Float32Array.from(samples, (sample) => sample / 32768));
    if (context.currentTime > ends) { gaps += 1; starts += context.currentTime + 0.05 - ends;
      ends = context.currentTime + 0.05; }
    const source = context.createBufferSource();
    source.buffer = buffer; source.connect(context.destination); source.start(ends);
    ends += buffer.duration;
  }
  show();
});
"""

_SIX = 6
"""Bytes that are whole both as base64 without padding and as 16-bit samples."""


def live_player() -> gr.HTML:
    """Its value is `LiveAudio.value`."""
    return gr.HTML(value={}, html_template=_TEMPLATE, css_template=_STYLE, js_on_load=_SCRIPT, elem_id="live")


class LiveAudio:
    """The value of a live player while audio comes in.

    Args:
        run: anything that no other run has.
        sample_rate: Hz.
        seconds: how long it will be, for the progress bar.
    """

    def __init__(self, run: str, sample_rate: int, seconds: float):
        self.run, self.sample_rate, self.seconds = run, sample_rate, seconds
        self._encoded, self._rest = "", b""

    def add(self, samples: Samples) -> dict[str, Any]:
        """The value with (T,) more samples."""
        data = self._rest + pcm(self.sample_rate, samples)[1].tobytes()
        whole = len(data) - len(data) % _SIX
        self._encoded += base64.b64encode(data[:whole]).decode("ascii")
        self._rest = data[whole:]
        return self._value(done=False)

    def finish(self) -> dict[str, Any]:
        """The value at the end."""
        data = self._rest + bytes(-len(self._rest) % _SIX)
        self._encoded += base64.b64encode(data).decode("ascii")
        self._rest = b""
        return self._value(done=True)

    def _value(self, done: bool) -> dict[str, Any]:
        return {
            "run": self.run, "rate": self.sample_rate, "seconds": self.seconds, "pcm": self._encoded, "done": done,
        }  # fmt: skip
