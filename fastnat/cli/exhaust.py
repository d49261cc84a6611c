"""fastnat exhaust."""
import click


@click.command()
def exhaust() -> None:
    """Open flows until SNAT ports run out."""
