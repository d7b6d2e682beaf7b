"""Runs a module's unittest cases and writes what became of them as JUnit."""
import sys
import time
import unittest
from xml.sax.saxutils import quoteattr


class _Result(unittest.TextTestResult):
    def __init__(self, *args):
        super().__init__(*args)
        self.cases = []

    def startTest(self, test):
        super().startTest(test)
        self._began = time.monotonic()

    def _case(self, test, tag="", text=""):
        body = f"<{tag} message={quoteattr(text)}/>" if tag else ""
        suite, name = type(test).__name__, test._testMethodName
        self.cases.append(f"<testcase classname={quoteattr(suite)} name={quoteattr(name)} "
                          f"time=\"{time.monotonic() - self._began:.3f}\">{body}</testcase>")

    def addSuccess(self, test):
        super().addSuccess(test)
        self._case(test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._case(test, "failure", str(error[1]))

    def addError(self, test, error):
        super().addError(test, error)
        self._case(test, "error", repr(error[1]))


def main(report):
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(sys.stdout, verbosity=2, resultclass=_Result).run(suite)
    with open(report, "w", encoding="utf-8") as file:
        file.write(f"<testsuite name=\"{sys.argv[0]}\" tests=\"{result.testsRun}\" failures=\"{len(result.failures)}\" "
                   f"errors=\"{len(result.errors)}\">{''.join(result.cases)}</testsuite>\n")
    sys.exit(not result.wasSuccessful())
