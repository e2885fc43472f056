"""What our commands have in common: one line for what went wrong, and exit codes that cron and CI can rely on."""

import argparse
import logging
import sys
from enum import IntEnum
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, handle_default_options
from django.db import DatabaseError, InterfaceError, OperationalError, connections

from coordination.errors import CoordinationError, JournalUnreachable, KeyReused
from coordination.management.durations import duration
from coordination.redact import redacted


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    JOURNAL_UNREACHABLE = 1
    WRONG_REQUEST = 2
    ROLLED_BACK = 3
    UNDECIDED = 4
    NOT_AS_DECIDED = 5
    KEY_REUSED = 6
    INTERRUPTED = 130


class Failed(CommandError):
    """Ends the command with an exit code and one line on stderr; ``said``: the command has said it already."""

    def __init__(self, exit: Exit, text: object, *, said: bool = False) -> None:
        super().__init__(_line(text), returncode=int(exit))
        self.said = said


class _Parser(CommandParser):
    """Says what is wrong with the command line in one line."""

    def error(self, message: str) -> NoReturn:
        if self.called_from_command_line:
            self.exit(Exit.WRONG_REQUEST, f"{self.prog}: {_line(message)} (--help says how it is used)\n")
        raise Failed(Exit.WRONG_REQUEST, message)


class Command(BaseCommand):
    """Base of our commands. ``handle`` may raise what the journal raises, or Failed; to return is exit code 0."""

    remedy = ""
    """What to do when the journal's database cannot be reached."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Django's parser, with our errors."""
        made = super().create_parser(prog_name, subcommand, **kwargs)
        made.__class__ = _Parser
        return made

    def run_from_argv(self, argv: list[str]) -> None:
        """Run from a command line and end the process with the command's exit code, saying why on one line."""
        self._called_from_command_line = True
        parser = self.create_parser(argv[0], argv[1])
        options = vars(parser.parse_args(argv[2:]))
        handle_default_options(argparse.Namespace(**options))
        options.pop("args", None)
        if options["verbosity"] < 2:
            # The command says by itself what happens; what is logged besides is for processes that nobody watches.
            logging.getLogger("coordination").setLevel(logging.WARNING)
        try:
            self.execute(**options)
        except CommandError as error:
            if options["traceback"]:
                raise
            if not (isinstance(error, Failed) and error.said):
                sys.stderr.write(_line(error) + "\n")
            # Django's own errors, such as a failed system check, mean that nothing was done.
            sys.exit(error.returncode if isinstance(error, Failed) else Exit.WRONG_REQUEST)
        except KeyboardInterrupt:
            sys.stderr.write("Interrupted\n")
            sys.exit(Exit.INTERRUPTED)
        finally:
            connections.close_all()

    def execute(self, *args: Any, **options: Any) -> Any:
        """As Django's, with every error that has a meaning turned into its exit code."""
        try:
            return super().execute(*args, **options)
        except KeyReused as error:
            raise Failed(Exit.KEY_REUSED, error) from error
        except (OperationalError, InterfaceError) as error:
            raise self._unreachable(JournalUnreachable(problem=" ".join(str(error).split()))) from error
        except JournalUnreachable as error:
            raise self._unreachable(error) from error
        except (CoordinationError, ImproperlyConfigured) as error:
            raise Failed(Exit.WRONG_REQUEST, error) from error
        except DatabaseError as error:
            raise Failed(
                Exit.WRONG_REQUEST, f"The journal cannot be used ({error}): has `manage.py migrate` been run?"
            ) from error

    def _unreachable(self, error: JournalUnreachable) -> Failed:
        return Failed(Exit.JOURNAL_UNREACHABLE, f"{error} {self.remedy}")


def _line(text: object) -> str:
    """``text`` on one line, without passwords: it ends in the logs of cron and CI."""
    return str(redacted(" ".join(str(text).split())))


def length_of_time(text: str) -> Any:
    """A duration, for argparse."""
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
