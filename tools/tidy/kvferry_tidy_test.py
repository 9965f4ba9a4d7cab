"""Each check of kvferry_tidy finds what it is for, and nothing in good files.

Method: small trees in a temporary folder, one fault each.
"""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kvferry_tidy  # noqa: E402  (found by the line above)


class KvferryTidyTest(unittest.TestCase):

  def findings(self, files):
    with tempfile.TemporaryDirectory() as root:
      for path, text in files.items():
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
          file.write(text)
      return [f"{path}: {what}"
              for path, _, what in kvferry_tidy.findings(root)]

  def expect_one(self, files, part):
    found = self.findings(files)
    self.assertEqual(len(found), 1, found)
    self.assertIn(part, found[0])

  def includes(self, path, target):
    """Findings in a listed source file that includes `target`."""
    return self.findings({
        path: f'#include "{target}"\n',
        os.path.dirname(path) + "/CMakeLists.txt": os.path.basename(path),
    })

  def test_includes_that_point_down_are_fine(self):
    for path, target in (("protocol/a.cc", "base/b.h"),
                         ("daemon/a.cc", "protocol/b.h"),
                         ("daemon/core/a.cc", "kvferry/key.h"),
                         ("sdk/a.cc", "protocol/b.h"),
                         ("tools/kvferryctl/a.cc", "kvferry/admin.h"),
                         ("tools/kvferry-bench/a.cc", "sdk/copy_kernels.h"),
                         ("tests/unit/a.cc", "daemon/core/b.h")):
      with self.subTest(path=path, target=target):
        self.assertEqual(self.includes(path, target), [])

  def test_includes_that_point_up_are_found(self):
    for path, target in (("base/a.cc", "protocol/b.h"),
                         ("protocol/a.cc", "daemon/b.h"),
                         ("daemon/a.cc", "sdk/b.h"),
                         ("sdk/a.cc", "daemon/b.h"),
                         ("daemon/core/a.cc", "daemon/memory/b.h"),
                         ("daemon/core/a.cc", "base/mutex.h"),
                         ("tools/kvferryctl/a.cc", "sdk/copy_kernels.h"),
                         ("tools/kvferry-bench/a.cc", "sdk/client_impl.h"),
                         ("sdk/examples/a.cc", "sdk/client_impl.h"),
                         ("daemon/memory/a.cc", "boost/mapped_region.hpp")):
      with self.subTest(path=path, target=target):
        self.assertEqual(len(self.includes(path, target)), 1)

  def test_system_headers_in_the_core_are_found(self):
    self.expect_one({"daemon/core/a.cc": "#include <sys/mman.h>\n",
                     "daemon/core/CMakeLists.txt": "a.cc"}, "pure")

  def test_header_guard_follows_the_path(self):
    good = "#ifndef KVFERRY_BASE_HEX_H_\n#define KVFERRY_BASE_HEX_H_\n#endif\n"
    public = "#ifndef KVFERRY_KEY_H_\n#define KVFERRY_KEY_H_\n#endif\n"
    self.assertEqual(self.findings({"base/hex.h": good,
                                    "include/kvferry/key.h": public}), [])
    self.expect_one({"base/other.h": good}, "KVFERRY_BASE_OTHER_H_")

  def test_unlisted_source_is_found(self):
    self.expect_one({"tests/unit/a_test.cc": "", "tests/unit/b_test.cc": "",
                     "tests/unit/CMakeLists.txt": "x(SOURCES a_test.cc)"},
                    "tests/unit/b_test.cc: no CMakeLists.txt names this file")

  def test_other_ways_to_list_a_source_are_known(self):
    self.assertEqual(self.findings({
        "tests/unit/a_test.cc": "", "tests/support/fake.cc": "",
        "tests/unit/CMakeLists.txt":
            "foreach(name a_test)\n  add(SOURCES ${name}.cc)\nendforeach()\n"
            "x(SOURCES ${PROJECT_SOURCE_DIR}/tests/support/fake.cc)\n"}), [])

  def test_a_comment_does_not_list_a_source(self):
    self.expect_one({"base/hex.cc": "", "base/CMakeLists.txt": "# hex.cc\n"},
                    "base/hex.cc")

  def test_a_longer_name_does_not_list_a_shorter_one(self):
    self.expect_one({"base/hex.cc": "", "base/base_hex.cc": "",
                     "base/CMakeLists.txt": "base_hex.cc"}, "base/hex.cc")

  def test_unknown_label_is_found(self):
    self.assertEqual(self.findings({"tests/CMakeLists.txt":
        'kvferry_add_test(a SOURCES LABELS unit threads TIMEOUT 5)\n'
        'set_tests_properties(b PROPERTIES LABELS "model;stress")\n'}), [])
    self.expect_one({"tests/CMakeLists.txt": "LABELS unit thread\n)"},
                    "'thread'")

  def test_invariants_are_known_in_both_directions(self):
    code = "// INV-PIN-1  A block.\n"
    listed = {"base/a.cc": code, "base/CMakeLists.txt": "a.cc"}
    self.expect_one(listed, "INV-PIN-1 is not in")
    self.assertEqual(
        self.findings(listed | {"docs/invariants.md": "INV-PIN-1\n"}), [])
    self.expect_one({"docs/invariants.md": "INV-PIN-2\n"}, "no other file")

  def test_markers_need_an_issue(self):
    self.expect_one({"README.md": "TODO: later\n"}, "without an issue")
    self.assertEqual(self.findings({"README.md": "TODO(#12): x\n"}), [])
    self.assertEqual(self.findings({"a.sh": "mktemp /tmp/kvf.XXXXXX\n"}), [])

  def test_paths_of_one_machine_are_found(self):
    self.expect_one({"a.sh": "cd /home/somebody/x\n"}, "one machine")
    self.assertEqual(self.findings(
        {"a.sh": "cd home/x; cd /rootless/y; ls ../home/y\n"}), [])

  def test_long_file_is_found(self):
    lines = kvferry_tidy.LINES_MAX
    self.assertEqual(self.findings({"a.py": "pass\n" * lines}), [])
    self.expect_one({"a.py": "pass\n" * (lines + 1)}, "the limit is")

  def test_broken_link_is_found(self):
    self.assertEqual(self.findings(
        {"docs/a.md": "[b](b.md#part) [c](https://example.org)\n",
         "docs/b.md": "[root](../README.md)\n", "README.md": ""}), [])
    self.expect_one({"docs/a.md": "[b](c.md)\n"}, "c.md")

  def test_undocumented_package_is_found(self):
    files = {"dev": "packages=(\n  cmake spin\n)\n",
             "docs/dependencies.md": "`cmake`\n"}
    self.expect_one(files, "spin")


if __name__ == "__main__":
  unittest.main()
