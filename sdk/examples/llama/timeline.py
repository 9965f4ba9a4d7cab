#!/usr/bin/env python3
"""Draws what llama_prefill and llama_decode did when.

usage: timeline.py [--svg FILE] [--json] [--width COLUMNS] EVENTS...

EVENTS are files that the programs wrote with --timeline, one JSON object a
line (timeline.h). Prints a chart, one row for each process and activity, and
the visible hand-over: what a request waits for after the last layer of its
prompt was computed. --json prints only the numbers, as one flat JSON object;
--svg draws the chart into a file besides.
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


def paint(events, begin_ns, end_ns, columns):
  """One row of cells: '#' busy for most of a cell's time, '+' for some of it,
  '|' for an instant."""
  cell_ns = (end_ns - begin_ns) / columns
  busy = [0.0] * columns
  instants = set()
  for event in events:
    first = min(columns - 1, int((event.begin_ns - begin_ns) / cell_ns))
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
      "|" if cell in instants else " " for cell, share in enumerate(busy))


def axis(begin_ns, end_ns, columns):
  """Two rows: ticks, and their times in ms since the beginning."""
  span_ms = (end_ns - begin_ns) / 1e6
  step = round_step(span_ms, max(1, columns // 12))
  ticks = ["-"] * columns
  labels = [" "] * columns
  for index in range(int(span_ms / step) + 1):
    cell = min(columns - 1, int(index * step / span_ms * columns))
    ticks[cell] = "+"
    text = f"{index * step:g}"
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


def render_chart(events, width=WIDTH_MAX):
  """The chart as text, no line longer than `width`."""
  if not events:
    return "nothing happened\n"
  width = max(WIDTH_MIN, min(width, WIDTH_MAX))
  begin, end = time_range(events)
  rows = rows_of(events)
  label_width = max([len(label) for label, _, _ in rows] + [len("ms")])
  columns = width - label_width - 3
  lines = [f"{label:<{label_width}} |{paint(found, begin, end, columns)}|"
           for label, found, _ in rows]
  ticks, labels = axis(begin, end, columns)
  lines.append(f"{'':<{label_width}} +{ticks}+")
  lines.append(f"{'ms':>{label_width}}  {labels}")
  for process, name, text in MARKS:
    at_ns = moment(events, process, name)
    if at_ns is not None:
      lines.append(f"{'':<{label_width}}  {(at_ns - begin) / 1e6:10.3f} ms  "
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


def render_svg(events, title="KVFerry: streaming hand-over"):
  """The chart as an SVG document."""
  left, right, row_height, plot_width = 140, 20, 26, 960
  rows = rows_of(events)
  top = 56
  bottom = top + row_height * len(rows)
  marks = [(text, moment(events, process, name))
           for process, name, text in MARKS]
  marks = [(text, at_ns) for text, at_ns in marks if at_ns is not None]
  height = bottom + 40 + 18 * len(marks) + 16
  width = left + plot_width + right
  parts = [
      f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
      f'height="{height}" viewBox="0 0 {width} {height}" '
      f'font-family="sans-serif" font-size="12">',
      f'<title>{html.escape(title)}</title>',
      f'<rect width="{width}" height="{height}" fill="white"/>',
      f'<text x="{left}" y="28" font-size="16">{html.escape(title)}</text>',
  ]
  if not events:
    return "\n".join(parts + ["</svg>"]) + "\n"
  begin, end = time_range(events)
  scale = plot_width / (end - begin)

  def x_of(at_ns):
    return left + (at_ns - begin) * scale

  for index, (label, found, color) in enumerate(rows):
    y = top + index * row_height
    parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">'
                 f'{html.escape(label)}</text>')
    # A tenth of a pixel apart is one bar to the eye, and to the file.
    for span_begin, span_end in merge(found, 0.1 / scale):
      bar = max((span_end - span_begin) * scale, 0.5)
      parts.append(f'<rect x="{x_of(span_begin):.2f}" y="{y + 4}" '
                   f'width="{bar:.2f}" height="{row_height - 8}" '
                   f'fill="{color}"/>')
  parts.append(f'<line x1="{left}" y1="{bottom}" x2="{left + plot_width}" '
               f'y2="{bottom}" stroke="black"/>')
  span_ms = (end - begin) / 1e6
  step = round_step(span_ms, 12)
  for index in range(int(span_ms / step) + 1):
    x = left + index * step * 1e6 * scale
    parts.append(f'<line x1="{x:.2f}" y1="{bottom}" x2="{x:.2f}" '
                 f'y2="{bottom + 5}" stroke="black"/>')
    parts.append(f'<text x="{x:.2f}" y="{bottom + 18}" text-anchor="middle">'
                 f'{index * step:g}</text>')
  parts.append(f'<text x="{left - 8}" y="{bottom + 18}" text-anchor="end">'
               f'ms</text>')
  for index, (text, at_ns) in enumerate(marks):
    y = bottom + 40 + 18 * index
    parts.append(f'<line x1="{x_of(at_ns):.2f}" y1="{top - 8}" '
                 f'x2="{x_of(at_ns):.2f}" y2="{bottom}" stroke="black" '
                 f'stroke-width="0.5" stroke-dasharray="3,3"/>')
    parts.append(f'<text x="{left}" y="{y}">'
                 f'{(at_ns - begin) / 1e6:.3f} ms: {html.escape(text)}</text>')
  return "\n".join(parts + ["</svg>"]) + "\n"


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
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
