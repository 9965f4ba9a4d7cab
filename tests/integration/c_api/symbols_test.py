#!/usr/bin/env python3
"""Compares what libkvferry-c exports with sdk/c_api/symbols.map, and that with
the functions that the headers declare.

usage: symbols_test.py LIBRARY SYMBOLS_MAP HEADER...

Prints a line for each difference and exits with 1 when there is any.
"""

import re
import subprocess
import sys

SONAME = "libkvferry-c.so.1"


def declared(headers):
  """Names of the functions that are marked KVF_EXPORT."""
  names = set()
  for path in headers:
    with open(path, encoding="utf-8") as file:
      text = re.sub(r"//[^\n]*", "", file.read())
    names.update(re.findall(r"\bKVF_EXPORT\b[^;()]*?\b(kvf_\w+)\s*\(", text))
    # One that was forgotten would be hidden.
    for found in re.finditer(r"^(?!typedef)[\w ]+\**\s+\**(kvf_\w+)\s*\(", text,
                             re.MULTILINE):
      if not found.group(0).startswith("KVF_EXPORT"):
        print(f"{path}: {found.group(1)} is not marked KVF_EXPORT")
        names.add(found.group(1) + " (unmarked)")
  return names


def listed(path):
  """{symbol: version} of the version script."""
  with open(path, encoding="utf-8") as file:
    text = re.sub(r"#[^\n]*", "", file.read())
  symbols = {}
  for version, body in re.findall(r"(\w[\w.]*)\s*\{([^}]*)\}", text):
    body = body.split("local:")[0].replace("global:", "")
    for name in re.findall(r"[^\s;]+", body):
      symbols[name] = version
  return symbols


def exported(library):
  """{symbol: version} of the library's dynamic symbols."""
  output = subprocess.run(["readelf", "-W", "--dyn-syms", library], check=True,
                          capture_output=True, text=True).stdout
  symbols = {}
  for line in output.splitlines():
    fields = line.split()
    if len(fields) < 8 or not fields[0].rstrip(":").isdigit():
      continue
    binding, place, name = fields[4], fields[6], fields[7]
    if place == "UND" or binding == "LOCAL":
      continue
    name, _, version = name.partition("@")
    if place == "ABS" and not version.lstrip("@"):
      continue  # the name of a version itself
    symbols[name] = version.lstrip("@")
  return symbols


def soname(library):
  output = subprocess.run(["readelf", "-W", "-d", library], check=True,
                          capture_output=True, text=True).stdout
  found = re.search(r"Library soname: \[([^]]*)\]", output)
  return found.group(1) if found else ""


def main(arguments):
  if len(arguments) < 3:
    print(__doc__, file=sys.stderr)
    return 2
  library, symbols_map, *headers = arguments
  in_headers = declared(headers)
  in_map = listed(symbols_map)
  in_library = exported(library)
  findings = []
  for name in sorted(in_headers - in_map.keys()):
    findings.append(f"{name} is declared and not in {symbols_map}")
  for name in sorted(in_map.keys() - in_headers):
    findings.append(f"{name} is in {symbols_map} and not declared")
  for name in sorted(in_map.keys() - in_library.keys()):
    findings.append(f"{name} is in {symbols_map} and not exported")
  for name in sorted(in_library.keys() - in_map.keys()):
    findings.append(f"{name} is exported and not in {symbols_map}")
  for name in sorted(in_map.keys() & in_library.keys()):
    if in_map[name] != in_library[name]:
      findings.append(f"{name} is exported under '{in_library[name]}', "
                      f"{symbols_map} has {in_map[name]}")
  if soname(library) != SONAME:
    findings.append(f"the SONAME is '{soname(library)}', not {SONAME}")
  if not in_map:
    findings.append(f"{symbols_map} has no symbols")
  for finding in findings:
    print(finding)
  print(f"{len(in_library)} symbols, {len(findings)} findings")
  return 1 if findings else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
