#!/usr/bin/env python3
"""Tests of sdk/examples/llama/timeline.py."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = os.path.normpath(
    os.path.join(os.path.dirname(os.path.abspath(__file__)), *[".."] * 5))
sys.path.insert(0, os.path.join(ROOT, "sdk/examples/llama"))
import timeline

MS = 1_000_000


def event(process, name, begin_ms, end_ms=None, **part):
  fields = {"process": process, "name": name, "begin_ns": int(begin_ms * MS),
            "end_ns": int((begin_ms if end_ms is None else end_ms) * MS)}
  return json.dumps({**fields, **part})


# Prefill computes for 100 ms; decode copies the first half while it does, the
# rest after its last layer at 100 ms.
STREAMED = [
    event("prefill", "ticket", 0),
    event("prefill", "compute", 0, 50, chunk=0),
    event("prefill", "commit", 50, 51, chunk=0),
    event("prefill", "compute", 51, 100, chunk=1, layer=3),
    event("prefill", "last_layer", 100),
    event("prefill", "commit", 100, 101, chunk=1),
    event("decode", "redeem", 1, 2),
    event("decode", "wait", 2, 51),
    event("decode", "copy", 51, 53, blocks=4),
    event("decode", "ok", 53, blocks=4),
    event("decode", "wait", 53, 99),
    event("decode", "copy", 99, 102, blocks=8),
    event("decode", "last_byte", 102),
    event("decode", "ok", 102.5, blocks=8),
    event("decode", "first_token", 103),
    event("decode", "generate", 103, 120),
]


def events_of(lines):
  return timeline.parse_events(lines)


class ParseTest(unittest.TestCase):

  def test_takes_the_parts_that_are_said(self):
    found = events_of(['{"process":"prefill","name":"commit","begin_ns":5,'
                       '"end_ns":9,"chunk":1,"layer":2}', ""])

    self.assertEqual(found, [timeline.Event("prefill", "commit", 5, 9, 1, 2,
                                            None)])

  def test_names_the_line_that_is_no_event(self):
    good = event("decode", "wait", 1, 2)
    for bad in ("{", "7", '{"process":"a","name":"b","begin_ns":1}',
                event("decode", "wait", 2, 1)):
      with self.assertRaisesRegex(ValueError, "^file:2: "):
        timeline.parse_events([good, bad], "file")


class SummaryTest(unittest.TestCase):

  def test_counts_from_the_last_layer(self):
    summary = timeline.summarize(events_of(STREAMED))

    self.assertAlmostEqual(summary["prefill_compute_ms"], 99)
    self.assertAlmostEqual(summary["copy_ms"], 5)
    self.assertAlmostEqual(summary["copy_after_last_layer_ms"], 2)
    self.assertEqual(summary["blocks_before_last_layer"], 4)
    self.assertAlmostEqual(summary["to_last_byte_ms"], 2)
    self.assertAlmostEqual(summary["to_first_token_ms"], 3)

  def test_the_slowest_rank_has_the_last_layer(self):
    later = event("prefill", "last_layer", 101)

    summary = timeline.summarize(events_of(STREAMED + [later]))

    self.assertAlmostEqual(summary["to_first_token_ms"], 2)

  def test_a_killed_prefill_has_no_last_layer(self):
    lines = [line for line in STREAMED if "last_layer" not in line]

    summary = timeline.summarize(events_of(lines))

    self.assertIsNone(summary["to_last_byte_ms"])
    self.assertIsNone(summary["to_first_token_ms"])
    self.assertIsNone(summary["copy_after_last_layer_ms"])
    self.assertIsNone(summary["blocks_before_last_layer"])

  def test_store_and_forward_has_no_block_before_the_last_layer(self):
    lines = [event("prefill", "last_layer", 10),
             event("decode", "copy", 12, 14),
             event("decode", "ok", 14, blocks=8),
             event("decode", "last_byte", 14),
             event("decode", "first_token", 15)]

    summary = timeline.summarize(events_of(lines))

    self.assertEqual(summary["blocks_before_last_layer"], 0)
    self.assertAlmostEqual(summary["copy_after_last_layer_ms"], 2)
    self.assertAlmostEqual(summary["to_first_token_ms"], 5)


class ChartTest(unittest.TestCase):

  def test_a_cell_says_how_busy_it_was(self):
    events = events_of([event("decode", "copy", 0, 10),
                        event("decode", "copy", 20, 22),
                        event("decode", "copy", 35)])

    self.assertEqual(timeline.paint(events, 0, 40 * MS, 4), "# +*")

  def test_the_end_belongs_to_the_last_cell(self):
    events = events_of([event("decode", "first_token", 40)])

    self.assertEqual(timeline.paint(events, 0, 40 * MS, 4), "   *")

  def test_has_a_row_for_each_activity_and_the_marks(self):
    chart = timeline.render_chart(events_of(STREAMED))

    labels = [line.split("|")[0].strip() for line in chart.splitlines()[:7]]
    self.assertEqual(labels, ["prefill compute", "prefill commit",
                              "decode redeem", "decode wait", "decode copy",
                              "decode ok", "decode generate"])
    self.assertRegex(chart, r"100\.000 ms +last layer written")
    self.assertRegex(chart, r"103\.000 ms +first token ready")

  def test_no_line_is_wider_than_asked_for(self):
    for width in (60, 80, 100, 1000):
      chart = timeline.render_chart(events_of(STREAMED), width)
      lines = chart.splitlines()
      self.assertEqual(max(map(len, lines[:7])), min(width, 100))
      self.assertLessEqual(max(map(len, lines)), min(width, 100))

  def test_the_axis_begins_at_zero_and_is_in_ms(self):
    ticks, labels = timeline.axis(7 * MS, 107 * MS, 7 * MS, 80)

    self.assertEqual(labels.split(), ["0", "20", "40", "60", "80", "100"])
    self.assertEqual(ticks.count("+"), 6)

  def test_a_window_is_cut_out_of_what_reaches_beyond_it(self):
    events = events_of([event("decode", "wait", 0, 15),
                        event("decode", "wait", 35, 90),
                        event("decode", "wait", 100, 110)])

    self.assertEqual(timeline.paint(events, 10 * MS, 50 * MS, 8), "#    ###")

  def test_a_window_keeps_the_times_and_only_its_own_marks(self):
    events = events_of(STREAMED)
    window = timeline.hand_over_window(events)
    chart = timeline.render_chart(events, window=window)

    self.assertEqual(window, (97 * MS, int(104.5 * MS)))
    self.assertIn(" 98 ", chart)
    self.assertRegex(chart, r"102\.000 ms +last byte in decode's pages")
    self.assertNotIn("ticket", chart)

  def test_without_a_first_token_there_is_no_window(self):
    lines = [line for line in STREAMED if "first_token" not in line]

    self.assertIsNone(timeline.hand_over_window(events_of(lines)))

  def test_ticks_far_from_the_origin_keep_their_digits(self):
    ticks = timeline.ticks_of(int(1562.6195 * MS), int(1562.6305 * MS), 0, 6)

    self.assertEqual([text for _, text in ticks],
                     ["1562.62", "1562.622", "1562.624", "1562.626", "1562.628",
                      "1562.63"])

  def test_nothing_is_a_chart_too(self):
    self.assertEqual(timeline.render_chart([]), "nothing happened\n")
    xml.etree.ElementTree.fromstring(timeline.render_svg([]))

  def test_steps_are_round(self):
    for span, step in ((100, 20), (7, 1), (1234, 200), (0.03, 0.005), (0, 1)):
      self.assertAlmostEqual(timeline.round_step(span, 8), step)


class SvgTest(unittest.TestCase):

  def test_bars_lie_where_their_time_is(self):
    root = xml.etree.ElementTree.fromstring(
        timeline.render_svg(events_of(STREAMED)))

    space = "{http://www.w3.org/2000/svg}"
    bars = [rect for rect in root.iter(space + "rect") if "x" in rect.attrib]
    # 51 to 100 of 120 ms on 960 pixels.
    second = [bar for bar in bars if bar.get("x") == "548.00"]
    self.assertEqual([bar.get("width") for bar in second], ["392.00", "16.00"])
    texts = [text.text for text in root.iter(space + "text")]
    self.assertIn("103.000 ms: first token ready", texts)

  def test_a_title_cannot_break_the_document(self):
    text = timeline.render_svg(events_of(STREAMED), "<&>")

    xml.etree.ElementTree.fromstring(text)
    self.assertIn("&lt;&amp;&gt;", text)

  def test_bars_too_close_to_tell_apart_are_one(self):
    events = events_of([event("prefill", "compute", 0, 1),
                        event("prefill", "compute", 1.5, 2),
                        event("prefill", "compute", 9, 10)])

    self.assertEqual(timeline.merge(events, 0.6 * MS),
                     [[0, 2 * MS], [9 * MS, 10 * MS]])


class MainTest(unittest.TestCase):

  def run_main(self, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = timeline.main(arguments)
    return status, out.getvalue(), err.getvalue()

  def test_merges_files_and_writes_what_was_asked_for(self):
    with tempfile.TemporaryDirectory() as folder:
      paths = []
      for process in ("prefill", "decode"):
        paths.append(os.path.join(folder, process))
        with open(paths[-1], "w", encoding="utf-8") as file:
          file.writelines(line + "\n" for line in STREAMED
                          if f'"{process}"' in line)
      svg = os.path.join(folder, "chart.svg")

      status, out, _ = self.run_main("--json", "--svg", svg, *paths)

      self.assertEqual(status, 0)
      self.assertEqual(json.loads(out)["to_first_token_ms"], 3)
      self.assertEqual(
          xml.etree.ElementTree.parse(svg).getroot().tag,
          "{http://www.w3.org/2000/svg}svg")

      status, out, _ = self.run_main(*paths)
      self.assertEqual(status, 0)
      self.assertIn("decode copy", out)

  def test_says_what_it_cannot_read(self):
    status, out, err = self.run_main("/nonexistent/events")

    self.assertEqual(status, 1)
    self.assertEqual(out, "")
    self.assertIn("/nonexistent/events", err)


if __name__ == "__main__":
  unittest.main()
