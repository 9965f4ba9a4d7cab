#!/usr/bin/env python3
"""Checks of the repository that no compiler makes; `ctest` runs them.

usage: kvferry_tidy.py ROOT

Prints one line a finding, `path:line: what is wrong`, and exits with 1 when
there is any. Each check is a function from a Tree to findings.
"""

import os
import re
import sys

SKIPPED_FOLDERS = {".git", ".cache", ".venv", "__pycache__", "build", "shared"}
TEXT_SUFFIXES = {".h", ".cc", ".fbs", ".py", ".sh", ".cmake", ".md", ".txt",
                 ".json", ".in", ".pml", ".toml", ".yml", ".clang-tidy", ""}
CXX_SUFFIXES = {".h", ".cc"}
LINES_MAX = 600
# Not .pml: a model is one state machine, and reads best in one piece.
LINES_CHECKED_SUFFIXES = {".h", ".cc", ".py", ".sh", ".cmake", ".fbs"}

# This folder speaks of what it forbids; the checks of words leave it out.
OWN_FOLDER = "tools/tidy/"

# Who may include what, by the first folders of a path; the longest prefix that
# fits decides. "kvferry/" are the public headers, which everybody may include.
ALLOWED_INCLUDES = {
    "base/": ("base/",),
    "protocol/": ("base/", "protocol/"),
    "include/kvferry/": (),
    "daemon/": ("base/", "protocol/", "daemon/"),
    # The pure state machine: nothing of the daemon around it.
    "daemon/core/": ("base/", "protocol/", "daemon/core/"),
    "sdk/": ("base/", "protocol/", "sdk/"),
    # An example is what an engine's author would write, but for our macros.
    "sdk/examples/": ("base/status.h", "sdk/examples/"),
    "tools/": ("base/", "protocol/", "tools/"),
    "tools/kvferry-bench/": ("base/", "protocol/", "tools/",
                             "sdk/copy_kernels.h"),
    "tests/": ("base/", "protocol/", "daemon/", "sdk/", "tools/", "tests/"),
    # A program outside the tree.
    "tests/integration/install/": (),
}
ROOT_FOLDERS = ("base/", "protocol/", "daemon/", "sdk/", "tools/", "tests/",
                "include/")

# Libraries that stay behind one interface, and where.
LEAF_LIBRARIES = {
    "boost/": ("base/mapping.cc",),
    "toml++/": ("daemon/config/",),
    "systemd/": ("daemon/",),
    "hiredis/": ("tools/kvferry-bench/",),
}

# Headers by which threads, clocks or the system would enter the pure core.
CORE_BANNED_INCLUDES = re.compile(
    r"sys/|unistd\.h|fcntl\.h|poll\.h|thread|mutex|condition_variable|chrono|"
    r"future|fstream|iostream|ctime|time\.h|random|spdlog/|"
    r"absl/time/clock\.h|absl/synchronization/|base/mutex\.h")

# The labels that a tier of `./dev test` selects (CMakePresets.json).
KNOWN_LABELS = {"unit", "integration", "threads", "install", "demo", "model",
                "litmus", "stress", "sim", "bench-smoke"}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
INVARIANT = re.compile(r"\bINV-[A-Z]+-[0-9]+\b")
MARKER = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
# Directories below which only one machine, or one user, has what it has.
MACHINE_PATH = re.compile(
    r"(?<![\w.-])/(?:home|root|Users|mnt|media|work)/[\w.-]")
MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Tree:
  """The text files below a root, read once."""

  def __init__(self, root):
    self.root = root
    self.files = {}
    for folder, folders, names in os.walk(root):
      folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
      for name in sorted(names):
        if os.path.splitext(name)[1] not in TEXT_SUFFIXES:
          continue
        full = os.path.join(folder, name)
        if os.path.islink(full) or not os.path.isfile(full):
          continue
        path = os.path.relpath(full, root).replace(os.sep, "/")
        try:
          with open(full, encoding="utf-8") as file:
            self.files[path] = file.read().splitlines()
        except UnicodeDecodeError:
          continue  # not text

  def with_suffix(self, suffixes):
    for path, lines in self.files.items():
      if os.path.splitext(path)[1] in suffixes:
        yield path, lines

  def exists(self, path):
    return os.path.exists(os.path.join(self.root, path))


def longest_prefix(path, table):
  fitting = [prefix for prefix in table if path.startswith(prefix)]
  return max(fitting, key=len) if fitting else None


def check_include_directions(tree):
  for path, lines in tree.with_suffix(CXX_SUFFIXES):
    prefix = longest_prefix(path, ALLOWED_INCLUDES)
    for number, line in enumerate(lines, 1):
      found = INCLUDE.match(line)
      if not found:
        continue
      target = found.group(2)
      if prefix and target.startswith(ROOT_FOLDERS) and not any(
          target.startswith(allowed) for allowed in ALLOWED_INCLUDES[prefix]):
        yield path, number, f'{prefix} may not include "{target}"'
      if path.startswith("daemon/core/") and CORE_BANNED_INCLUDES.match(target):
        yield path, number, (f"daemon/core/ is pure: no threads, clock or "
                             f"system, so no {target}")
      library = longest_prefix(target, LEAF_LIBRARIES)
      if (library and not path.startswith("tests/") and not any(
          path.startswith(place) for place in LEAF_LIBRARIES[library])):
        yield path, number, (f"{library} is included by "
                             f"{' and '.join(LEAF_LIBRARIES[library])} only")


def check_header_guards(tree):
  for path, lines in tree.with_suffix({".h"}):
    logical = path
    if path.startswith("include/"):
      logical = path[len("include/"):]
    elif not path.startswith(ROOT_FOLDERS):
      continue
    if not logical.startswith("kvferry/"):
      logical = "kvferry/" + logical
    guard = re.sub(r"[^A-Za-z0-9]", "_", logical).upper() + "_"
    text = [line.strip() for line in lines]
    if f"#ifndef {guard}" not in text or f"#define {guard}" not in text:
      yield path, 1, f"the header guard is not {guard}"


def list_names_source(list_folder, text, path):
  """Whether the CMakeLists.txt of `list_folder` names the source `path`."""
  forms = [re.escape("${PROJECT_SOURCE_DIR}/" + path)]
  if not list_folder or path.startswith(list_folder + "/"):
    relative = os.path.relpath(path, list_folder or ".").replace(os.sep, "/")
    forms.append(r"(?<![\w./-])" + re.escape(relative))
    # A function or a loop of the folder may take tests by their names.
    if relative.endswith("_test.cc") and "${name}.cc" in text:
      forms.append(r"(?<![\w./-])" + re.escape(relative[:-len(".cc")]))
  return re.search("(?:" + "|".join(forms) + r")(?![\w-])", text) is not None


def check_sources_are_built(tree):
  """A source file that no CMakeLists.txt names is dead, a test never run."""
  lists = {os.path.dirname(path): "\n".join(line.split("#")[0]
                                            for line in lines)
           for path, lines in tree.files.items()
           if os.path.basename(path) == "CMakeLists.txt"}
  for path, _ in tree.with_suffix({".cc"}):
    if not any(list_names_source(folder, text, path)
               for folder, text in lists.items()):
      yield path, 1, "no CMakeLists.txt names this file"


def check_test_labels(tree):
  for path, lines in tree.files.items():
    if os.path.basename(path) != "CMakeLists.txt":
      continue
    text = "\n".join(line.split("#")[0] for line in lines)
    for found in re.finditer(
        r"\bLABELS\s+(\"[^\"]*\"|[\w;-]+(?:\s+[a-z][\w;-]*)*)", text):
      number = text.count("\n", 0, found.start()) + 1
      for label in re.split(r"[\s;]+", found.group(1).strip('"')):
        if label and "$" not in label and label not in KNOWN_LABELS:
          yield path, number, (f"label '{label}' is in no tier; there are "
                               f"{', '.join(sorted(KNOWN_LABELS))}")


def check_invariants(tree):
  home = "docs/invariants.md"
  defined = {}
  for number, line in enumerate(tree.files.get(home, []), 1):
    for name in INVARIANT.findall(line):
      defined.setdefault(name, number)
  used = {}
  for path, lines in tree.files.items():
    if path == home or path.startswith(OWN_FOLDER):
      continue
    for number, line in enumerate(lines, 1):
      for name in INVARIANT.findall(line):
        used.setdefault(name, (path, number))
  for name, (path, number) in used.items():
    if name not in defined:
      yield path, number, f"{name} is not in {home}"
  for name, number in defined.items():
    if name not in used:
      yield home, number, f"{name} is in no other file"


def check_words(tree):
  for path, lines in tree.files.items():
    if path.startswith(OWN_FOLDER):
      continue
    for number, line in enumerate(lines, 1):
      found = MARKER.search(line)
      if found:
        yield path, number, (f"{found.group(1)} without an issue, as in "
                             f"{found.group(1)}(#12)")
      if MACHINE_PATH.search(line):
        yield path, number, "a path of one machine"


def check_file_lengths(tree):
  for path, lines in tree.with_suffix(LINES_CHECKED_SUFFIXES):
    if len(lines) > LINES_MAX:
      yield path, LINES_MAX + 1, (f"{len(lines)} lines, the limit is "
                                  f"{LINES_MAX}: split it by concept")


def check_links(tree):
  """Links of the documentation to files of the tree."""
  for path, lines in tree.with_suffix({".md"}):
    for number, line in enumerate(lines, 1):
      for target in MARKDOWN_LINK.findall(line):
        target = target.split("#")[0]
        if not target or re.match(r"[a-z]+:", target):
          continue
        place = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if not tree.exists(place):
          yield path, number, f"link to {target}, which is not there"


def check_dependencies_are_documented(tree):
  """Each package that `./dev setup` installs has its line in the docs."""
  home = "docs/dependencies.md"
  text = "\n".join(tree.files.get("dev", []))
  found = re.search(r"^packages=\(([^)]*)\)", text, re.MULTILINE)
  if not found:
    return
  documented = set(re.findall(r"`([^`]+)`", "\n".join(tree.files.get(home, []))))
  for package in found.group(1).split():
    if package not in documented:
      yield "dev", 1, f"package {package} has no line in {home}"


CHECKS = (check_include_directions, check_header_guards,
          check_sources_are_built, check_test_labels, check_invariants,
          check_words, check_file_lengths, check_links,
          check_dependencies_are_documented)


def findings(root):
  tree = Tree(root)
  return sorted(finding for check in CHECKS for finding in check(tree))


def main(arguments):
  if len(arguments) != 1 or not os.path.isdir(arguments[0]):
    print(__doc__, file=sys.stderr)
    return 2
  found = findings(arguments[0])
  for path, number, what in found:
    print(f"{path}:{number}: {what}")
  print(f"{len(found)} findings")
  return 1 if found else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
