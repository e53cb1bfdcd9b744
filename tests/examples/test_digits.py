"""The digits example reaches what it promises."""

from examples.digits import main


def test_over_97_percent(capsys):
    assert main([]) > 0.97
    assert "test accuracy" in capsys.readouterr().out
