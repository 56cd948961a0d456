"""`python -m augment`: the `augment` command."""

from augment.cli.main import app

if __name__ == "__main__":  # a worker process imports this file under another name
    app()
