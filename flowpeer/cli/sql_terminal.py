"""The terminal of `flowpeer sql`: lines with history and completion, a pager for long answers."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output
from prompt_toolkit.shortcuts import CompleteStyle

from flowpeer.cli.sql_complete import CompletionNames, offers
from flowpeer.query.statement import tokens

HISTORY_BYTES = 1 << 20
"""Of the file: past it, the older half goes."""


def is_whole(text: str, questions: Iterable[str]) -> bool:
    """Whether Enter asks what is typed: a statement up to its semicolon, a dot command, or a
    question by its name."""
    text = text.strip()
    if not text or text.startswith("."):
        return True
    if text.split()[0].rstrip(";") in questions:
        return True
    every = list(tokens(text))
    if any(t.kind == "sign" and t.word in "'\"" for t in every):
        return False  # inside a text
    return bool(every) and every[-1].word == ";"


class StatementReader:
    """What a person types, statement by statement."""

    def __init__(self, names: CompletionNames) -> None:
        self._questions = frozenset(names.questions)
        self._session: PromptSession[str] = PromptSession(
            "flowpeer> ",
            multiline=True,
            prompt_continuation="     ...> ",
            completer=_Offers(names),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            key_bindings=self._keys(),
            history=_history(),
            output=None if sys.stdout.isatty() else create_output(sys.stderr),
        )

    def read(self) -> str | None:
        """The next statement, dot command or question; None at the end of input.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was typed is dropped.
        """
        while True:
            try:
                # A signal, where a key is not meant: asyncio cancels the prompt, none is lost.
                text = self._session.prompt(handle_sigint=False).strip()
            except EOFError:
                return None
            if text:
                return text

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter", filter=has_focus("DEFAULT_BUFFER"))
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if is_whole(buffer.text, self._questions):
                buffer.validate_and_handle()
            else:
                buffer.insert_text("\n")

        return keys


class _Offers(Completer):
    def __init__(self, names: CompletionNames) -> None:
        self._names = names

    def get_completions(self, document: Document, _: CompleteEvent) -> Iterable[Completion]:
        names, typed = offers(document.text, document.cursor_position, self._names)
        return [Completion(name, start_position=-typed) for name in names]


class _History(FileHistory):
    """A full disk, or a file of somebody else's, must not spoil a session."""

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError):
            super().store_string(string)


def _history() -> History:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    path = Path(base) / "flowpeer" / "sql_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        content = path.read_bytes()
        if len(content) > HISTORY_BYTES:
            start = content.find(b"\n# ", len(content) - HISTORY_BYTES // 2)
            path.write_bytes(content[max(start, 0) :])
    except OSError:
        return InMemoryHistory()
    return _History(str(path))


def show(text: str, *, paged: bool) -> None:
    """Print a text, through $PAGER (or less) where it is longer than the screen."""
    lines = shutil.get_terminal_size((160, 24)).lines
    command = shlex.split(os.environ.get("PAGER", "less")) if paged else []
    if not command or text.count("\n") < lines or not sys.stdout.isatty():
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        options = {"LESS": "FRSX", **os.environ}
        pager = subprocess.Popen(command, stdin=subprocess.PIPE, env=options)  # noqa: S603 (the user's)
    except OSError:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    before = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread()
    if ours:  # Ctrl-C is the pager's while it shows; a handler is not inherited, as ignoring is
        signal.signal(signal.SIGINT, lambda *_: None)
    try:
        pager.communicate(text.encode("utf-8", "replace"))
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
