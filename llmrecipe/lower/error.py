"""What can only be found wrong when a launcher runs already."""


class LoweringError(ValueError):
    """The recipe cannot be spread over the processes that the launcher started."""

    def __init__(self, recipe: str, location: tuple[str, ...], message: str, help_: str) -> None:
        super().__init__(message)
        self.recipe, self.location, self.message, self.help = recipe, location, message, help_
