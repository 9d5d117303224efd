"""What a run reports and when it stops itself: sections that a recipe and a plan say with the same words."""

from typing import Annotated, Literal

from pydantic import Field

from llmrecipe.schema import Fraction, PositiveInt, SecretName, Section

Action = Literal["stop", "warn", "off"]
"""`stop` ends the stage with a diagnosis, `warn` says it in the log and goes on, `off` does not look."""

# -- the watchdog --


class NoSignal(Section):
    """Loss or gradient norm is exactly zero: nothing is learned, or no label is supervised."""

    action: Action = "stop"
    """What happens then."""
    logs: PositiveInt = 3
    """Lines of the log in a row."""


class UniformOutput(Section):
    """The model guesses evenly over its whole vocabulary after warm-up: it has collapsed, or learns nothing."""

    action: Action = "stop"
    """What happens then."""
    nats: Annotated[float, Field(gt=0)] = 0.02
    """Largest distance of the entropy from that of an even guess, the logarithm of the vocabulary."""
    logs: PositiveInt = 10
    """Lines of the log in a row, without moving away from it."""


class DeadPreference(Section):
    """The loss of preferences stays at ln 2 without a gradient: chosen and rejected look alike to the model."""

    action: Action = "stop"
    """What happens then."""
    logs: PositiveInt = 5
    """Lines of the log in a row."""


class Audit(Section):
    """Of the tensors that are to be trained, some have no gradient or do not change in the first steps."""

    action: Action = "stop"
    """What happens then."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share that must have a gradient in the first step, and must have changed once the learning rate is high."""


class EqualRewards(Section):
    """All answers of a group are rewarded alike, so that nothing can be learned from them."""

    action: Action = "stop"
    """What happens then."""
    above: Fraction = 0.8
    """Share of groups without a difference."""
    logs: PositiveInt = 20
    """Lines of the log in a row."""


class ClippedCompletions(Section):
    """Answers are cut off at their greatest length before they end."""

    action: Action = "stop"
    """What happens then."""
    above: Fraction = 0.5
    """Share of answers that are cut off."""
    logs: PositiveInt = 20
    """Lines of the log in a row."""


class Divergence(Section):
    """The policy runs away from its reference."""

    action: Action = "warn"
    """What happens then."""
    times: Annotated[float, Field(gt=1)] = 10.0
    """KL divergence as a multiple of its median so far."""
    logs: PositiveInt = 5
    """Lines of the log in a row; as many must have come before them."""


class LostEntropy(Section):
    """The policy hardly varies its answers any more: what it would still have to try, it never says."""

    action: Action = "warn"
    """What happens then."""
    below: Fraction = 0.2
    """Entropy as a share of the median of the first ten lines of the log."""
    logs: PositiveInt = 5
    """Lines of the log in a row."""


class Throughput(Section):
    """Training has become slow."""

    action: Action = "warn"
    """What happens then."""
    below: Fraction = 0.5
    """Tokens per second as a share of the median of the first 50 steps."""
    steps: PositiveInt = 20
    """Steps in a row."""


class Overfitting(Section):
    """The loss of the validation grows away from that of training."""

    action: Action = "warn"
    """What happens then."""
    evaluations: PositiveInt = 3
    """Validations in a row in which the gap has grown."""


class DeviceMemory(Section):
    """The memory of the device is nearly full."""

    action: Action = "warn"
    """What happens then."""
    above: Fraction = 0.92
    """Share that was in use at the peak."""


class FreeDisk(Section):
    """The disk has little room for further checkpoints."""

    action: Action = "warn"
    """What happens then."""
    checkpoints: PositiveInt = 2
    """Checkpoints that must still fit."""


class Hang(Section):
    """No step ends for a long time: the processes wait for each other, or for data."""

    action: Action = "stop"
    """What happens then; the stacks of all threads are written to the log before."""
    minutes: Annotated[float, Field(gt=0)] = 10.0
    """Longest silence, unless `times` steps take longer."""
    times: Annotated[float, Field(gt=1)] = 20.0
    """Longest silence as a multiple of the median step."""


class Watchdog(Section):
    """What training watches while it goes on. Values that are no finite number always stop it."""

    no_signal: NoSignal = NoSignal()
    uniform_output: UniformOutput = UniformOutput()
    dead_preference: DeadPreference = DeadPreference()
    audit: Audit = Audit()
    equal_rewards: EqualRewards = EqualRewards()
    clipped_completions: ClippedCompletions = ClippedCompletions()
    divergence: Divergence = Divergence()
    lost_entropy: LostEntropy = LostEntropy()
    throughput: Throughput = Throughput()
    overfitting: Overfitting = Overfitting()
    device_memory: DeviceMemory = DeviceMemory()
    free_disk: FreeDisk = FreeDisk()
    hang: Hang = Hang()


# -- trackers --


class TensorBoard(Section):
    """Event files for TensorBoard. Needs `llmrecipe[tracking-tensorboard]`."""

    kind: Literal["tensorboard"]


class MLflow(Section):
    """A run of MLflow. Needs `llmrecipe[tracking-mlflow]`."""

    kind: Literal["mlflow"]
    tracking_uri: Annotated[str, Field(min_length=1)] | None = None
    """A server or a database; an SQLite file in the folder of the run when left out."""
    experiment: Annotated[str, Field(min_length=1)] | None = None
    """Experiment that the run belongs to; the name of the recipe when left out."""
    token: SecretName | None = None
    """Token of a server."""


class WandB(Section):
    """A run of Weights & Biases. Needs `llmrecipe[tracking-wandb]`."""

    kind: Literal["wandb"]
    mode: Literal["offline", "online"] = "offline"
    """`offline` writes into the folder of the run; `wandb sync` sends it later."""
    project: Annotated[str, Field(min_length=1)] | None = None
    """Project that the run belongs to; the name of the recipe when left out."""
    entity: Annotated[str, Field(min_length=1)] | None = None
    """Team or user; the account's own when left out."""
    api_key: SecretName | None = None
    """Key of the account; `online` without one takes what `wandb login` has stored."""


class Trackio(Section):
    """A run of trackio, kept on this machine. Needs `llmrecipe[tracking-trackio]`."""

    kind: Literal["trackio"]
    project: Annotated[str, Field(min_length=1)] | None = None
    """Project that the run belongs to; the name of the recipe when left out."""


Tracker = Annotated[TensorBoard | MLflow | WandB | Trackio, Field(discriminator="kind")]


class Prometheus(Section):
    """Training metrics over HTTP, at `/metrics`, while a training stage runs."""

    port: Annotated[int, Field(ge=1, le=65535)] = 9400
    """Port on which the first process of the stage answers."""
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address at which it listens; `0.0.0.0` lets other machines ask."""


class Tracking(Section):
    """Where training reports, beside its own log. None of it changes what is made."""

    trackers: list[Tracker] = []
    """Each is told every line of the training log."""
    prometheus: Prometheus | None = None
    """Left out: nothing listens."""
