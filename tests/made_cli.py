"""What the tests of the command line share: a training command, a place without data, and what an error looks like."""

from made_data import environment

from tsslbp_ref import cli

NAME = "fashion-mnist-400-400"
TRAIN = ("train", NAME, "--epochs", "1", "--threads", "1", "--quiet")


def find_nothing(tmp_path, monkeypatch):
    """Let no data set be found outside the test's folder, and none be downloaded; runs go below the test's folder."""
    monkeypatch.chdir(tmp_path)
    for key, value in environment(tmp_path).items():
        if key.startswith("TSSLBP_"):
            monkeypatch.setenv(key, value)


def refused(capsys, *arguments):
    """The command's one line of error; its status is 2."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("tsslbp-ref: error: ")
    return err
