"""unittest with a last line that people and scripts can read: "12 passed, 0 failed, 1 skipped"."""
import os
import sys
import unittest


def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    if names:
        cases = [case for group in suite for case in group if any(name in case.id() for name in names)]
        suite = unittest.TestSuite(cases)
    result = unittest.TextTestRunner(sys.stdout, verbosity=2, failfast="-f" in sys.argv).run(suite)
    for test, reason in result.skipped:
        print(f"SKIPPED {test.id().split('.', 1)[-1]}: {reason}")
    # A failing subtest counts with its test; what goes wrong around tests (class set-up and end) counts, too.
    failures = [getattr(test, "test_case", test) for test, _ in result.failures + result.errors]
    failed = len({test.id() for test in failures})
    failed_tests = len({test.id() for test in failures if isinstance(test, unittest.TestCase)})
    skipped = len([test for test, _ in result.skipped if isinstance(test, unittest.TestCase)])
    print(f"{result.testsRun - failed_tests - skipped} passed, {failed} failed, {len(result.skipped)} skipped", flush=True)
    os._exit(0 if result.wasSuccessful() else 1)
