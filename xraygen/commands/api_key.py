"""Keys for the HTTP service."""

import click


@click.command()
@click.argument("name")
def api_key(name: str) -> None:
    """Make an API key for `xraygen serve`.

    The key is printed once. Its SHA-256 hash is appended to the file .api-keys in this folder,
    which the service reads when it starts. To revoke a key, remove its line and restart the
    service.
    """
    from xraygen.service import keys

    key = keys.create(name)
    click.echo(key)
    click.echo(f"Its hash is in {keys.FILE}. The key is not stored: keep it now.", err=True)
