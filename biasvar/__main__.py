"""The command biasvar (python -m biasvar): what commands there are, and the way to each of them."""

from __future__ import annotations

from biasvar.interrupts import begin_command, end_command

if __name__ == "__main__":
    begin_command("interrupted")

import sys
from collections.abc import Sequence

COMMANDS = {
    "run": "train the arms of a study file, and record every sample's bias and variance terms",
    "report": "draw the figures of runs, judge the claims they test, and write one page about them",
}
EXAMPLES = (
    ("run experiments/digits.yaml", "train the digits study, about a minute, into runs/digits"),
    ("report runs/digits", "its page: runs/digits/report/index.html"),
    ("run my_study.yaml --init --data mine.npz", "write a first study on your own data"),
    ("run my_study.yaml --dry-run", "say what it would train, and write nothing"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: the command's, or 0 for the list of commands, 2 for an unknown one."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        return run(given[1:]) if given[0] == "run" else report(given[1:])
    if given in (["--version"], ["-V"]):
        from biasvar import __version__

        print(f"biasvar {__version__}")
        return 0
    if not given or given[0] in ("-h", "--help", "help"):
        print(_listed())
        return 0
    from biasvar.messages import no_such

    print(f"biasvar: error: {no_such(given[0], COMMANDS, 'command')}", file=sys.stderr)
    return 2


def _listed() -> str:
    from biasvar import __version__
    from biasvar.messages import command

    this = command()
    width = max(len(example) for example, _ in EXAMPLES)
    return "\n".join(
        [
            f"biasvar {__version__}: sample-wise bias and variance of soft labels",
            "",
            f"usage: {this} COMMAND ...",
            "",
            *(f"  {name:<7} {what}" for name, what in COMMANDS.items()),
            "",
            "for instance",
            *(f"  {this} {example:<{width}}  {what}" for example, what in EXAMPLES),
            "",
            f"`{this} COMMAND --help` says all of one; biasvar-run and biasvar-report are the same two.",
        ]
    )


def run(arguments: Sequence[str] | None = None) -> int:
    """The command biasvar-run."""
    begin_command("interrupted before anything was trained")
    from biasvar.run import main

    return end_command(main(arguments))


def report(arguments: Sequence[str] | None = None) -> int:
    """The command biasvar-report."""
    begin_command("interrupted; no file was changed")
    from biasvar.report.__main__ import main

    return end_command(main(arguments))


if __name__ == "__main__":
    sys.exit(end_command(main()))
