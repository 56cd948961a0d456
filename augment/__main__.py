"""`python -m augment`: the `augment` command."""

from augment.cli.main import app

app()
