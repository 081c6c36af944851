"""Tests that run on a booted board: pytest hil/ --farm-board rpi4

The board is leased, flashed and booted once, when the first test asks for it; all tests here share
that boot. Without a bench: pytest hil/ --farm-board rpi4 --farm-no-bench
"""


def test_the_board_boots(board):
    # The verdict that `farm flash` ends with: all of onboot succeeded, all services are up, and
    # nothing bad came on the console afterwards.
    assert board.verdict.passed, board.verdict.summary


def test_the_greeting_ran(board):
    # Every step of the boot is an event of the timeline, with what it ended with.
    ended = {event.fields["name"]: event for event in board.timeline if event.name == "onboot-end"}
    assert ended["greeting"].fields["rc"] == "0"


def test_the_system_is_what_was_asked_for(shell):
    # `shell` runs commands on the board: by SSH where it has a network, else on its console if
    # the assembly has a getty. Without either, the test is skipped and says so.
    assert shell.run("cat /etc/issue").stdout == "my first farm system\n"


# `console` is the serial console: console.send("..."), console.expect("a regular expression").
# `power` switches the board: power.cycle() boots it again and returns the verdict.
