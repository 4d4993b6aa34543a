"""A player that switches between two recordings without a gap, at the same position.

Both play at once, and one is heard. So the ear compares the same sound, a moment apart.
"""

import html
from typing import Any

import gradio as gr

from flowvocoder.demo.parts import PRIVATE

_TEMPLATE = """<div class="switch" role="group" aria-label="Switch between both while they play">
<button type="button" class="play" disabled>Play</button>
<span class="sides"><button type="button" class="side" aria-pressed="true">{first}</button
><button type="button" class="side" aria-pressed="false">{second}</button></span>
<input type="range" min="0" max="1" step="0.001" value="0" aria-label="Position" disabled>
<span class="time" role="status">Switch while it plays.</span></div>"""

_STYLE = """
.switch { display: flex; align-items: center; gap: 10px; padding: 10px 14px; border-radius: 8px; flex-wrap: wrap;
  border: 1px solid var(--border-color-primary); background: var(--block-background-fill); }
.switch button { border: 1px solid var(--border-color-primary); padding: 5px 14px; font-weight: 600; }
.switch .play { border-radius: 6px; min-width: 76px; }
.switch button:disabled { opacity: .45; }
.switch .side:first-child { border-radius: 6px 0 0 6px; border-right: 0; }
.switch .side:last-child { border-radius: 0 6px 6px 0; }
.switch .side[aria-pressed=true] { background: #0f766e; color: white; }
.switch input { flex: 1 1 120px; accent-color: #0f766e; min-width: 0; }
.switch .time { font-size: .85rem; color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
"""

_SCRIPT = """
const part = (name) => element.querySelector(name);
const sides = () => [...element.querySelectorAll('.side')];
let context = null, sounds = [], sources = [], gains = [], side = 0, at = 0, starts = 0, playing = false, wanted = 0;
const seconds = () => Math.max(0, ...sounds.map((sound) => sound.duration));
const now = () => playing ? Math.min(seconds(), Math.max(at, at + context.currentTime - starts)) : at;
const show = () => {
  if (playing && now() >= seconds()) { halt(); at = 0; }
  part('.play').textContent = playing ? 'Pause' : 'Play';
  part('.play').disabled = part('input').disabled = !sounds.length;
  sides().forEach((button, index) => button.setAttribute('aria-pressed', index === side));
  if (sounds.length) {
    part('input').value = now() / seconds();
    part('.time').textContent = now().toFixed(1) + ' of ' + seconds().toFixed(1) + ' s';
  }
  Object.assign(element.dataset, {playing, side, at: now(), starts, ready: sounds.length > 0});
  if (playing) requestAnimationFrame(show);
};
const halt = () => { at = now(); playing = false; sources.forEach((source) => source.stop()); sources = []; };
const play = () => {
  context = context || new AudioContext();
  context.resume();
  starts = context.currentTime + 0.05;
  gains = sounds.map((_, index) => new GainNode(context, {gain: index === side ? 1 : 0}));
  sources = sounds.map((buffer, index) => {
    const source = new AudioBufferSourceNode(context, {buffer});
    source.connect(gains[index]).connect(context.destination);
    source.start(starts, at);
    return source;
  });
  playing = true;
};
const choose = (index) => {
  side = index;  // faded in some milliseconds, so that nothing clicks
  gains.forEach((gain, i) => gain.gain.setTargetAtTime(i === side ? 1 : 0, context.currentTime, 0.004));
};
element.addEventListener('click', (event) => {
  const index = sides().indexOf(event.target.closest('.side'));
  if (index >= 0) choose(index); else if (event.target.closest('.play')) playing ? halt() : play(); else return;
  show();
});
element.addEventListener('input', (event) => {
  const goes = playing;
  if (goes) halt();
  at = event.target.value * seconds();
  if (goes) play();
  show();
});
watch('value', async () => {
  const request = ++wanted;
  if (playing) halt();
  sounds = []; at = 0; side = 0;
  show();
  part('.time').textContent = 'Switch while it plays.';
  try {
    const decoder = new OfflineAudioContext(1, 1, 48000);
    const decoded = await Promise.all((props.value.urls || []).map(async (url) =>
      decoder.decodeAudioData(await (await fetch(url)).arrayBuffer())));
    if (request === wanted) sounds = decoded;
    show();
  } catch (error) { part('.time').textContent = 'The browser cannot play these.'; }
});
"""

_URLS = "(first, second) => ({urls: [first.url, second.url]})"


def switch(first: str, second: str) -> gr.HTML:
    """A player for two recordings that are named so."""
    template = _TEMPLATE.format(first=html.escape(first), second=html.escape(second))
    return gr.HTML(value={}, html_template=template, css_template=_STYLE, js_on_load=_SCRIPT, elem_classes="ab")


def fill(player: gr.HTML, first: gr.Audio, second: gr.Audio, after: Any) -> None:
    """Give the player what two others hold, each time that an event has ended well."""
    after.success(None, [first, second], player, js=_URLS, queue=False, show_progress="hidden", **PRIVATE)
