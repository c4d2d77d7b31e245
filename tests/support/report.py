"""What an acceptance program prints: `name: value` lines, the verdict last."""

import sys
import traceback
from collections.abc import Callable

SKIPPED = 77  # an exit status: nothing could be shown here


class Report:
    def __init__(self):
        self.failures: list[str] = []
        self.skipped = ""

    @staticmethod
    def figure(name: str, value) -> None:
        print(f"{name}: {value}", flush=True)

    def fail(self, why: str) -> None:
        self.failures.append(why)

    def skip(self, why: str) -> None:
        """Nothing can be shown on this machine."""
        self.skipped = why

    def check(self, name: str, observations: int, wrong: list[str], least: int = 1) -> None:
        """One claim: how often it was looked at, and each time that it did not hold.

        @param least  with fewer observations nothing was shown
        """
        if observations < least:
            wrong = [*wrong, f"{observations} observations, {least} needed"]
        verdict = f"failed {len(wrong)}" if wrong else "ok"
        self.figure(name, f"{verdict}, {observations} observations")
        for why in wrong[:3]:
            print(f"  {why}", flush=True)
        if wrong:
            self.fail(f"{name}: {wrong[0]}")

    def check_flat(self, what: str, samples: list[float], allowed: float) -> None:
        """Memory does not grow: the lowest of each half of the samples, since the heap breathes."""
        half = len(samples) // 2
        if half < 2:
            self.figure(what, f"not looked at: {len(samples)} samples")
            return
        before, after = min(samples[:half]), min(samples[half:])
        self.figure(f"{what}, first and second half", f"{before:.1f}, {after:.1f}")
        wrong = [f"{after - before:.1f} more"] if after - before > allowed else []
        self.check(f"memory is flat: {what}", len(samples), wrong)

    def verdict(self) -> int:
        """Prints it. @return the exit status"""
        if self.skipped and not self.failures:
            self.figure("verdict", f"skipped: {self.skipped}")
            return SKIPPED
        text = f"failed: {'; '.join(self.failures)}" if self.failures else "ok"
        self.figure("verdict", text)
        return 1 if self.failures else 0


def run(main: Callable[[Report], None]) -> None:
    """Runs an acceptance program; what it raises is a failure too."""
    report = Report()
    try:
        main(report)
    except Exception as error:
        traceback.print_exc()
        report.fail(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    sys.exit(report.verdict())
