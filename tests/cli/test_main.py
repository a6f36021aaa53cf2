"""The command line as a whole: exit codes, one-line errors, help."""

from __future__ import annotations

import pytest
import typer

import edgedet.cli as cli
from edgedet.errors import EdgedetError, NotRunError


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """An app with one command that raises what the test puts in the box."""
    box: dict[str, BaseException] = {}
    app = typer.Typer()

    @app.callback()
    def root(debug: bool = False) -> None: ...

    @app.command()
    def fail() -> None:
        raise box["error"]

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(cli, "_register_commands", lambda: None)
    return box


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (EdgedetError("x.pt: is gone", "Look for it"), 1, "error: x.pt: is gone. Look for it"),
        (NotRunError("no device", "Plug one in"), 1, "not run: no device. Plug one in"),
        (KeyboardInterrupt(), 130, "Stopped"),
        (typer.Exit(3), 3, ""),
        (RuntimeError("boom"), 1, "fault of edgedet"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    error: BaseException, code: int, words: str, failing: dict[str, BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing["error"] = error
    assert cli.main(["fail"]) == code
    captured = capsys.readouterr()
    assert words in captured.err.replace("\n", " ")
    assert "Traceback" not in captured.err + captured.out


def test_debug_shows_the_traceback(failing: dict[str, BaseException]) -> None:
    failing["error"] = EdgedetError("x", "y")
    with pytest.raises(EdgedetError):
        cli.main(["fail", "--debug"])


def test_misuse_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["no-such-command"]) == 2
    assert "no-such-command" in capsys.readouterr().err


COMMANDS = ("train", "eval", "export", "verify", "predict", "bench", "data", "demo")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert [c for c in COMMANDS if c not in printed] == []


@pytest.mark.parametrize("command", [*[[c] for c in COMMANDS], ["data", "synth"], ["data", "check"], ["data", "stats"]])
def test_every_command_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--help"]) == 0
    _, _, behind_example = " ".join(capsys.readouterr().out.split()).partition("Example")
    assert "edgedet " + " ".join(command) in behind_example
