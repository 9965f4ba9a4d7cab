#!/usr/bin/env python3
"""Draws what llama_prefill and llama_decode did when.

usage: timeline.py [--svg FILE] [--json] [--width COLUMNS] EVENTS...

EVENTS are files that the programs wrote with --timeline, one JSON object a
line (timeline.h). Prints a chart, one row for each process and activity, and a
second one of the visible hand-over alone: what a request waits for after the
last layer of its prompt was written. --json prints only the numbers, as one
flat JSON object; --svg draws both charts into a file besides.
"""

import argparse
import collections
import html
import json
import math
import sys

Event = collections.namedtuple(
    "Event", "process name begin_ns end_ns chunk layer blocks")

# The rows, from top to bottom: process, activity, colour.
ROWS = (
    ("prefill", "compute", "#4878a8"),
    ("prefill", "commit", "#d97b29"),
    ("decode", "redeem", "#8a6fae"),
    ("decode", "wait", "#c9c9c9"),
    ("decode", "copy", "#d97b29"),
    ("decode", "ok", "#3a923a"),
    ("decode", "compute", "#4878a8"),
    ("decode", "generate", "#b33b3b"),
)
# Moments that get a line of their own across the chart.
MARKS = (
    ("prefill", "ticket", "ticket"),
    ("prefill", "last_layer", "last layer written"),
    ("decode", "last_byte", "last byte in decode's pages"),
    ("decode", "first_token", "first token ready"),
)
WIDTH_MIN = 60
WIDTH_MAX = 100
# Of the picture, in pixels.
SVG_LEFT = 140
SVG_PLOT_WIDTH = 960
SVG_ROW_HEIGHT = 26


def parse_events(lines, source="events"):
  """The events of some lines; ValueError names the line that is none."""
  events = []
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      fields = json.loads(line)
      event = Event(str(fields["process"]), str(fields["name"]),
                    int(fields["begin_ns"]), int(fields["end_ns"]),
                    fields.get("chunk"), fields.get("layer"),
                    fields.get("blocks"))
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(f"{source}:{number}: not an event: {error}") from error
    if event.end_ns < event.begin_ns:
      raise ValueError(f"{source}:{number}: it ends at {event.end_ns}, before "
                       f"it begins at {event.begin_ns}")
    events.append(event)
  return events


def read_events(paths):
  events = []
  for path in paths:
    with open(path, encoding="utf-8") as file:
      events += parse_events(file, path)
  return sorted(events, key=lambda event: event.begin_ns)


def select(events, process, name):
  return [event for event in events
          if event.process == process and event.name == name]


def moment(events, process, name):
  """When the last such event ended; None if there was none."""
  found = select(events, process, name)
  return max(event.end_ns for event in found) if found else None


def total_ms(events, process, name):
  return sum(event.end_ns - event.begin_ns
             for event in select(events, process, name)) / 1e6


def copied_after(events, at_ns):
  """Milliseconds of decode's copying that were after `at_ns`."""
  return sum(max(0, event.end_ns - max(event.begin_ns, at_ns))
             for event in select(events, "decode", "copy")) / 1e6


def blocks_before(events, at_ns):
  """How many leading blocks decode had, whole, at `at_ns`."""
  return max([event.blocks or 0 for event in select(events, "decode", "ok")
              if event.end_ns <= at_ns], default=0)


def summarize(events):
  """The numbers that matter, times in milliseconds; None where an end is
  missing."""
  last_layer = moment(events, "prefill", "last_layer")
  result = {
      "prefill_compute_ms": total_ms(events, "prefill", "compute"),
      "copy_ms": total_ms(events, "decode", "copy"),
      "copy_after_last_layer_ms": None,
      "blocks_before_last_layer": None,
      "to_last_byte_ms": None,
      "to_first_token_ms": None,
  }
  if last_layer is None:
    return result
  result["copy_after_last_layer_ms"] = copied_after(events, last_layer)
  result["blocks_before_last_layer"] = blocks_before(events, last_layer)
  for key, name in (("to_last_byte_ms", "last_byte"),
                    ("to_first_token_ms", "first_token")):
    at_ns = moment(events, "decode", name)
    if at_ns is not None:
      result[key] = (at_ns - last_layer) / 1e6
  return result


def round_step(span, steps_max):
  """The smallest of 1, 2, 5 x 10^n that divides `span` into few enough."""
  if span <= 0:
    return 1.0
  magnitude = 10.0 ** math.floor(math.log10(span / steps_max))
  for factor in (1, 2, 5, 10):
    if span / (magnitude * factor) <= steps_max:
      return magnitude * factor
  return magnitude * 20


def time_range(events):
  """Begin and end in ns; at least a microsecond apart."""
  begin = min(event.begin_ns for event in events)
  end = max(event.end_ns for event in events)
  return begin, max(end, begin + 1000)


def hand_over_window(events):
  """Begin and end in ns of what was visible of the hand-over, with as much
  time again before it; None if one of its ends is missing."""
  last_layer = moment(events, "prefill", "last_layer")
  first_token = moment(events, "decode", "first_token")
  if last_layer is None or first_token is None or first_token <= last_layer:
    return None
  visible = first_token - last_layer
  return last_layer - visible, first_token + visible // 2


def paint(events, begin_ns, end_ns, columns):
  """One row of cells: '#' busy for most of a cell's time, '+' for some of it,
  '*' for an instant."""
  cell_ns = (end_ns - begin_ns) / columns
  busy = [0.0] * columns
  instants = set()
  for event in events:
    if event.end_ns < begin_ns or event.begin_ns > end_ns:
      continue
    first = max(0, min(columns - 1, int((event.begin_ns - begin_ns) / cell_ns)))
    last = min(columns - 1, int((event.end_ns - begin_ns) / cell_ns))
    if event.begin_ns == event.end_ns:
      instants.add(first)
      continue
    for cell in range(first, last + 1):
      start = begin_ns + cell * cell_ns
      busy[cell] += max(0.0, min(event.end_ns, start + cell_ns) -
                        max(event.begin_ns, start))
  return "".join(
      "#" if share >= cell_ns / 2 else "+" if share > 0 else
      "*" if cell in instants else " " for cell, share in enumerate(busy))


def ticks_of(begin_ns, end_ns, origin_ns, ticks_max):
  """Round times in [begin, end]: pairs of ns and the text of their ms since
  the origin."""
  begin_ms = (begin_ns - origin_ns) / 1e6
  end_ms = (end_ns - origin_ns) / 1e6
  step = round_step(end_ms - begin_ms, ticks_max)
  first = math.ceil(begin_ms / step - 1e-9)
  last = math.floor(end_ms / step + 1e-9)
  return [(origin_ns + index * step * 1e6, f"{round(index * step, 6):.10g}")
          for index in range(first, last + 1)]


def axis(begin_ns, end_ns, origin_ns, columns):
  """Two rows: ticks, and their times."""
  ticks = ["-"] * columns
  labels = [" "] * columns
  for at_ns, text in ticks_of(begin_ns, end_ns, origin_ns,
                              max(1, columns // 12)):
    cell = int((at_ns - begin_ns) / (end_ns - begin_ns) * columns)
    cell = max(0, min(columns - 1, cell))
    ticks[cell] = "+"
    # The last one may have no room to the right of its tick.
    cell = min(cell, columns - len(text))
    labels[cell:cell + len(text)] = text
  return "".join(ticks), "".join(labels).rstrip()


def rows_of(events):
  """The rows that something happened in: label, events, colour."""
  rows = []
  for process, name, color in ROWS:
    found = select(events, process, name)
    if found:
      rows.append((f"{process} {name}", found, color))
  return rows


def marks_of(events, begin_ns, end_ns):
  """The marks in [begin, end]: text and ns, in the order of time."""
  marks = [(text, moment(events, process, name))
           for process, name, text in MARKS]
  return sorted([(text, at_ns) for text, at_ns in marks
                 if at_ns is not None and begin_ns <= at_ns <= end_ns],
                key=lambda mark: mark[1])


def render_chart(events, width=WIDTH_MAX, window=None):
  """The chart as text, no line longer than `width`; of a window of time, if
  given. Times count from the first event."""
  if not events:
    return "nothing happened\n"
  width = max(WIDTH_MIN, min(width, WIDTH_MAX))
  begin, end = window or time_range(events)
  origin = time_range(events)[0]
  rows = rows_of(events)
  label_width = max([len(label) for label, _, _ in rows] + [len("ms")])
  columns = width - label_width - 3
  lines = [f"{label:<{label_width}} |{paint(found, begin, end, columns)}|"
           for label, found, _ in rows]
  ticks, labels = axis(begin, end, origin, columns)
  lines.append(f"{'':<{label_width}} +{ticks}+")
  lines.append(f"{'ms':>{label_width}}  {labels}")
  for text, at_ns in marks_of(events, begin, end):
    lines.append(f"{'':<{label_width}}  {(at_ns - origin) / 1e6:10.3f} ms  "
                 f"{text}")
  return "\n".join(lines) + "\n"


def merge(events, gap_ns):
  """Spans, with those that are closer than `gap_ns` drawn as one."""
  spans = []
  for event in sorted(events, key=lambda event: event.begin_ns):
    if spans and event.begin_ns - spans[-1][1] <= gap_ns:
      spans[-1][1] = max(spans[-1][1], event.end_ns)
    else:
      spans.append([event.begin_ns, event.end_ns])
  return spans


def draw_panel(events, window, title, top):
  """One chart of an SVG document, from `top` down: its elements and height."""
  begin, end = window
  origin = time_range(events)[0]
  rows = rows_of(events)
  marks = marks_of(events, begin, end)
  plot_top = top + 36
  bottom = plot_top + SVG_ROW_HEIGHT * len(rows)
  scale = SVG_PLOT_WIDTH / (end - begin)
  right = SVG_LEFT + SVG_PLOT_WIDTH

  def x_of(at_ns):
    return SVG_LEFT + (at_ns - begin) * scale

  parts = [f'<text x="{SVG_LEFT}" y="{top + 20}" font-size="16">'
           f'{html.escape(title)}</text>']
  for index, (label, found, color) in enumerate(rows):
    y = plot_top + index * SVG_ROW_HEIGHT
    parts.append(f'<text x="{SVG_LEFT - 8}" y="{y + 16}" text-anchor="end">'
                 f'{html.escape(label)}</text>')
    # A tenth of a pixel apart is one bar to the eye, and to the file.
    for span_begin, span_end in merge(found, 0.1 / scale):
      if span_end < begin or span_begin > end:
        continue
      x = x_of(max(span_begin, begin))
      bar = max(x_of(min(span_end, end)) - x, 0.5)
      parts.append(f'<rect x="{x:.2f}" y="{y + 4}" width="{bar:.2f}" '
                   f'height="{SVG_ROW_HEIGHT - 8}" fill="{color}"/>')
  parts.append(f'<line x1="{SVG_LEFT}" y1="{bottom}" x2="{right}" '
               f'y2="{bottom}" stroke="black"/>')
  for at_ns, text in ticks_of(begin, end, origin, 12):
    x = f"{x_of(at_ns):.2f}"
    parts.append(f'<line x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 5}" '
                 f'stroke="black"/>')
    parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">'
                 f'{text}</text>')
  parts.append(f'<text x="{SVG_LEFT - 8}" y="{bottom + 18}" text-anchor="end">'
               f'ms</text>')
  for index, (text, at_ns) in enumerate(marks):
    x = f"{x_of(at_ns):.2f}"
    parts.append(f'<line x1="{x}" y1="{plot_top - 6}" x2="{x}" y2="{bottom}" '
                 f'stroke="black" stroke-width="0.5" stroke-dasharray="3,3"/>')
    parts.append(f'<text x="{SVG_LEFT}" y="{bottom + 40 + 18 * index}">'
                 f'{(at_ns - origin) / 1e6:.3f} ms: {html.escape(text)}</text>')
  return parts, bottom + 40 + 18 * len(marks) - top


def render_svg(events, title="KVFerry: streaming hand-over"):
  """The chart as an SVG document; below it that of the visible hand-over."""
  body = []
  top = 8
  if events:
    parts, height = draw_panel(events, time_range(events), title, top)
    body += parts
    top += height
    window = hand_over_window(events)
    if window:
      parts, height = draw_panel(
          events, window, "From the last layer to the first token", top)
      body += parts
      top += height
  width = SVG_LEFT + SVG_PLOT_WIDTH + 40
  head = [
      f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
      f'height="{top}" viewBox="0 0 {width} {top}" '
      f'font-family="sans-serif" font-size="12">',
      f'<title>{html.escape(title)}</title>',
      f'<rect width="{width}" height="{top}" fill="white"/>',
  ]
  return "\n".join(head + body + ["</svg>"]) + "\n"


def main(arguments):
  parser = argparse.ArgumentParser(
      description="Draws what llama_prefill and llama_decode did when.")
  parser.add_argument("--svg", metavar="FILE", help="draw the chart into FILE")
  parser.add_argument("--json", action="store_true",
                      help="print only the numbers")
  parser.add_argument("--width", type=int, default=WIDTH_MAX,
                      help=f"columns, {WIDTH_MIN} to {WIDTH_MAX}")
  parser.add_argument("events", nargs="+", metavar="EVENTS")
  options = parser.parse_args(arguments)
  try:
    events = read_events(options.events)
    if options.svg:
      with open(options.svg, "w", encoding="utf-8") as file:
        file.write(render_svg(events))
  except (OSError, ValueError) as error:
    print(f"timeline.py: {error}", file=sys.stderr)
    return 1
  summary = {key: None if value is None else round(value, 4)
             for key, value in summarize(events).items()}
  if options.json:
    print(json.dumps(summary, separators=(",", ":")))
  else:
    print(render_chart(events, options.width), end="")
    window = hand_over_window(events)
    if window:
      print("\nFrom the last layer to the first token:")
      print(render_chart(events, options.width, window), end="")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
